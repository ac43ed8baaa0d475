"""Models served over HTTP by Ray Serve: `mmvision-mamba serve`. Needs ray[serve], the extra 'serve'."""
