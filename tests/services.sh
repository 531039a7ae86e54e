#!/bin/sh
# Installs what the tests use beside Python: a real Redis, a real Prometheus with promtool, Chromium, Fashion-MNIST,
# libfaketime and a C compiler, all packages of Debian and Ubuntu.
# Where that cannot be done it says what will be skipped. Under CI=true the tests that need them fail instead.
set -u

missing=""
command -v redis-server >/dev/null || missing="redis-server"
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing="$missing prometheus"
[ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || missing="$missing dataset-fashion-mnist"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing="$missing chromium"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib/faketime/libfaketimeMT.so.1 2>/dev/null | grep -q . || missing="$missing libfaketime"
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || { echo "services: ok"; exit 0; }

if [ "$(id -u)" -eq 0 ]; then
  as_root=""
elif sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  as_root="none"
fi

mkdir -p build
log="build/services.log"
: >"$log"
install() {
  # shellcheck disable=SC2086 # the words of both variables are meant to be split
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >>"$log" 2>&1
}

if [ "$as_root" != none ] && command -v apt-get >/dev/null; then
  echo "Installing for the tests:$(printf ' %s' $missing)"
  install && { echo "services: ok"; exit 0; }
  $as_root apt-get update -q >>"$log" 2>&1
  install && { echo "services: ok"; exit 0; }
  echo "That failed (see $log)."
fi
echo "Tests that need$(printf ' %s' $missing) will be skipped; to run them: apt-get install $missing"
