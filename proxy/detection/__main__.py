"""`python -m proxy.detection`: the detectors' process, which the proxy starts; see `process`."""

from proxy.detection.process import main

if __name__ == "__main__":
    main()
