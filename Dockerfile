# Builds the optimised profile in one stage and runs it as an ordinary user in another.
#   docker build -t offhook .
#   docker run --network host -v offhook-data:/data offhook
# SIP and RTP carry addresses inside their messages: host networking is the simple way. Behind a bridge, publish the
# SIP port and the RTP range and set OFFHOOK_SIP__EXTERNAL_ADDRESS to the address that callers reach.
# `--ulimit rtprio=10` (or `--cap-add SYS_NICE`) lets media threads have real-time priority.

FROM rust:1.95-bookworm AS build
# libopus is built by cmake.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --bin offhook && cp target/dist/offhook /usr/local/bin/offhook

FROM debian:bookworm-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates flite espeak-ng \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin offhook \
    && install -d -o offhook -g offhook /app /data
COPY --from=build /usr/local/bin/offhook /usr/local/bin/offhook
COPY config /app/config
COPY LICENSE-APACHE LICENSE-MIT media/weights/LICENSE-silero-vad /usr/share/doc/offhook/
WORKDIR /app
USER offhook
ENV OFFHOOK_HTTP__LISTEN=0.0.0.0:8080 \
    OFFHOOK_SIP__LISTEN=0.0.0.0:5060 \
    OFFHOOK_DATA__DIR=/data
VOLUME /data
EXPOSE 8080/tcp 5060/udp 5060/tcp 20000-29999/udp
# The image has no HTTP client; bash has enough of one. The port is the one above.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${OFFHOOK_HTTP__LISTEN##*:} && printf 'GET /readiness HTTP/1.0\\r\\n\\r\\n' >&3 && IFS=' ' read -r -t 2 _ status _ <&3 && [[ $status == 200 ]]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["offhook"]
CMD ["serve"]
