# syntax=docker/dockerfile:1
# The images of Trunkline's programs: one static binary each, run as an unprivileged user.
#
#   docker build --target trunkline-ingester -t trunkline-ingester .
#   docker build --target trunkline-operator -t trunkline-operator .
#   docker build --target trunkline -t trunkline .
#
# `make images` writes the same without a container engine.

# Alpine's own C library is musl, so that what is built here is static. The version is the one of
# rust-toolchain.toml, which stays outside: the image has no need of the other components it asks for.
FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache musl-dev gcc make
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p trunkline-ingester -p trunkline-operator -p trunkline-cli \
    && cp target/release/trunkline-ingester target/release/trunkline-operator \
        target/release/trunkline /

FROM scratch AS trunkline-ingester
COPY --from=build /trunkline-ingester /
USER 65532:65532
ENTRYPOINT ["/trunkline-ingester"]

FROM scratch AS trunkline-operator
COPY --from=build /trunkline-operator /
USER 65532:65532
ENTRYPOINT ["/trunkline-operator"]

FROM scratch AS trunkline
COPY --from=build /trunkline /
USER 65532:65532
ENTRYPOINT ["/trunkline"]
