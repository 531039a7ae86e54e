# The proxy alone: no TensorFlow, no compiler, no pip. Build: docker build -t tensorwall .
# Run with any root filesystem, read-only included; nothing is written:
#   docker run --read-only -p 8600:8600 -v ./tensorwall.yaml:/etc/tensorwall/config.yaml:ro tensorwall
# The admin port listens on loopback unless the configuration says `listen: {admin: 0.0.0.0:8601}`.

FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY proxy proxy
COPY defenses defenses
COPY detectors detectors
COPY protos protos
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /src/dist . \
 && python -m venv --without-pip /opt/tensorwall \
 && python -m pip --python /opt/tensorwall install --no-cache-dir --constraint constraints.txt \
      "$(echo /src/dist/tensorwall-*.whl)[redis,images,capture]"

FROM python:3.13-slim
COPY --from=build /opt/tensorwall /opt/tensorwall
ENV PATH=/opt/tensorwall/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8600 8601
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-c", \
  "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8601, timeout=3); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["tensorwall"]
CMD ["serve", "--config", "/etc/tensorwall/config.yaml"]
