"""TLS of the admin port: one context, whose certificate follows its files."""

import ssl

from proxy.config.admin import AdminTls
from proxy.config.load import ConfigError
from proxy.fingerprint import fingerprint


class AdminCertificate:
    """The certificate that new connections are shown; old ones keep theirs.

    Args:
        settings: the files.

    Attributes:
        context: for the listener.

    Raises:
        ConfigError: the files cannot be used.
    """

    def __init__(self, settings: AdminTls) -> None:
        self._settings = settings
        self._seen = fingerprint(settings.cert, settings.key)
        self.context = _load(settings, _context())

    def reload_if_changed(self) -> bool:
        """Takes changed files; True if it did.

        Raises:
            ConfigError: they cannot be used. The certificate stays as it was, and this is said once a change.
        """
        now = fingerprint(self._settings.cert, self._settings.key)
        if now == self._seen:
            return False
        self._seen = now
        _load(self._settings, _context())  # a context that failed half-way would have the new chain with the old key
        _load(self._settings, self.context)
        return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load(settings: AdminTls, context: ssl.SSLContext) -> ssl.SSLContext:
    try:
        context.load_cert_chain(settings.cert, settings.key, password=b"")
    except ssl.SSLError as error:
        reason = (error.reason or error.strerror or "cannot be read").replace("_", " ").lower()
        raise ConfigError(
            f"admin.tls: {settings.cert} and {settings.key} are not a certificate chain and its key in PEM, "
            f"without a passphrase: {reason}"
        ) from None
    except OSError as error:
        raise ConfigError(f"admin.tls: {settings.cert} and {settings.key}: {error.strerror or error}") from None
    return context
