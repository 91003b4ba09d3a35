# docker build -t anemone . && docker run --rm -v "$PWD:/data" -w /data anemone inspect x.nemo
FROM debian:12 AS build
WORKDIR /anemone
COPY scripts/deps scripts/deps
RUN scripts/deps build
COPY . .
RUN cmake --preset release -DANEMONE_DEVELOPER_MODE=OFF && cmake --build --preset release \
    && cd build/release && cpack -D CPACK_COMPONENTS_ALL=Runtime

FROM debian:12-slim
COPY --from=build /anemone/build/release/anemone_*.deb /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends /tmp/anemone_*.deb ca-certificates \
    && rm -rf /tmp/anemone_*.deb /var/lib/apt/lists/*
ENTRYPOINT ["anemone"]
