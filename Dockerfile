# The gateway, alone in a small image:   docker build -t keyward .
# What puts load on a fleet of them:     docker build --target load -t keyward-load .
#
# Every base is an argument. The first two must have the same C library, or the first the older one.
ARG BUILDER_IMAGE=rust:1.95-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot
ARG TOOLS_IMAGE=debian:trixie-slim

FROM ${TOOLS_IMAGE} AS load
RUN command -v python3 && command -v wrk || { \
        apt-get update && apt-get install -y --no-install-recommends python3 wrk \
        && rm -rf /var/lib/apt/lists/*; }
COPY tests/compose/load.py /usr/bin/keyward-load
USER 65532:65532
ENTRYPOINT ["/usr/bin/python3", "-u", "/usr/bin/keyward-load"]

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
# Names for what is in a backtrace stay, the lines' table does not.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=none
# The dependencies first: this layer lasts until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
    && cargo build --release --locked --bin keyward && rm -r src
COPY src src
# Newer than what was built from nothing, whatever the clock of the checkout said.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin keyward \
    && mkdir -m 0700 state

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Keyward" \
      org.opencontainers.image.description="A gateway that lets only those with a valid API key reach your API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /build/target/release/keyward /usr/bin/keyward
COPY --from=builder --chown=65532:65532 /build/state /var/lib/keyward
USER 65532:65532
WORKDIR /var/lib/keyward
VOLUME /var/lib/keyward
EXPOSE 8080 8081
# Needs an admin listener on loopback, as there is by default; or KEYWARD_ADMIN_URL.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/usr/bin/keyward", "healthcheck"]
ENTRYPOINT ["/usr/bin/keyward"]
CMD ["serve"]
