# Lectern's image: one static binary and a bundle of CAs on nothing. There is no shell in it: what an init container or
# an operator needs is a sub-command of the binary (`lectern check`, `lectern spool ls`).
#
#   docker build --build-arg VERSION=v1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) -t lectern .
#
# `make image` does that. Plain BuildKit serves: a "syntax" line would fetch a frontend, and is not needed.

# The version of go.mod's go line, so that the build needs no other toolchain.
ARG GO_VERSION=1.26.8

# The compiler runs on the machine that builds and compiles for the other: no emulation.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=unknown
ARG COMMIT=unknown
# A version that is no tag has its commit in it already (git describe).
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    case "$VERSION" in *"$(echo "$COMMIT" | cut -c1-7)"*) version=$VERSION ;; *) version=$VERSION+$(echo "$COMMIT" | cut -c1-12) ;; esac && \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$version" -o /out/lectern ./cmd/lectern && \
    mkdir /out/state

FROM scratch
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="lectern" \
      org.opencontainers.image.description="counts reading" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$COMMIT
# For TLS to ClickHouse.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/lectern /lectern
# Empty, and of the user's: a named volume that is mounted here is writable.
COPY --from=build --chown=65532:65532 /out/state /var/lib/lectern
WORKDIR /var/lib/lectern
# A number, so that runAsNonRoot can tell that it is not root.
USER 65532:65532
EXPOSE 8420/udp 8420/tcp 8421/tcp
ENTRYPOINT ["/lectern"]
CMD ["serve"]
