#!/usr/bin/env bash
# One Dockerfile with a stage for tests; a matrix over build arguments.
#   BASE_IMAGE
set -euo pipefail

context=$(mktemp -d)
trap 'rm -rf "$context"; docker images -q "matrix*" | sort -u | xargs -r docker rmi -f >/dev/null' EXIT
cd "$context"
cat >Dockerfile <<'EOF'
ARG BASE_IMAGE=scratch
ARG VARIANT=slim
FROM ${BASE_IMAGE} AS base
WORKDIR /app
ARG PYTHON=3.11
ENV PYTHON_VERSION=${PYTHON}

FROM base AS deps-slim
RUN echo "pkg" > deps
FROM base AS deps-full
RUN printf 'pkg\nextra\n' > deps

FROM deps-${VARIANT} AS build
COPY . .
RUN --mount=type=cache,target=/root/.cache,id=pip date +%s%N >> /root/.cache/uses && wc -l < deps > size

FROM build AS test
ARG FAIL=
RUN test -z "$FAIL" || { echo "1 test failed" >&2; exit 9; }
RUN echo "ok $PYTHON_VERSION" > report.txt

FROM scratch AS report
COPY --from=test /app/report.txt /

FROM build AS release
HEALTHCHECK NONE
USER 1000
CMD ["cat", "size"]
EOF
echo 'print("hi")' >main.py

declare -A size=([slim]=1 [full]=2)
for python in 3.11 3.12; do
  for variant in slim full; do
    args=(--build-arg "BASE_IMAGE=$BASE_IMAGE" --build-arg PYTHON="$python" --build-arg VARIANT="$variant")
    tag="matrix:py${python//./}-$variant"
    docker build "${args[@]}" --target test -t "$tag-test" -q . >/dev/null
    docker build "${args[@]}" --target report --output "type=local,dest=reports/$python-$variant" . 2>/dev/null
    docker build "${args[@]}" -t "$tag" . >build.log 2>&1 || { cat build.log; exit 1; }
    grep -q CACHED build.log
    [ "$(docker run --rm "$tag")" = "${size[$variant]}" ]
    [ "$(docker run --rm "$tag" sh -c 'echo $PYTHON_VERSION')" = "$python" ]
    [ "$(docker inspect -f '{{.Config.User}}' "$tag")" = 1000 ]
    [ "$(docker run --rm "$tag-test" cat report.txt)" = "ok $python" ]
  done
done
[ "$(cat reports/*/report.txt | sort | uniq -c | awk '{ print $1 }' | tr '\n' ' ')" = '2 2 ' ]
[ "$(docker images --filter=reference='matrix:*' --format '{{.Tag}}' | wc -l)" = 8 ]
[ "$(docker image ls matrix:py311-slim --format '{{.Repository}}|{{.Tag}}')" = 'matrix|py311-slim' ]

# Failing tests fail the build and say why; nothing gets the tag.
if docker build --build-arg BASE_IMAGE="$BASE_IMAGE" --build-arg FAIL=1 --target test -t matrix:broken . >fail.log 2>&1; then exit 1; fi
grep -q '1 test failed' fail.log
grep -q 'exit code: 9' fail.log
[ -z "$(docker images -q matrix:broken)" ]
if docker build --target nowhere . 2>fail.log; then exit 1; fi
grep -q nowhere fail.log

docker history --no-trunc --format '{{.CreatedBy}}' matrix:py312-full | grep -q 'CMD \["cat" "size"\]'
docker image ls --format '{{.Repository}}' | grep -c '^matrix$'
