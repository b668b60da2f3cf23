#!/usr/bin/env bash
# What GitLab's runner does with its docker executor: a cache volume, a builds volume, a helper
# container that fetches the sources, the job's container that gets its script on stdin, services.
#   HELPER_IMAGE BUILD_IMAGE
set -euo pipefail

prefix="runner-t1Xy-project-42-concurrent-0"
builds="$prefix-cache-c33bcaa1fd2c77edfc3893b41966cea8"
project=/builds/group/project
label=com.gitlab.gitlab-runner

volume_flags=(-v "$builds:/builds:rw")
labels=(--label "$label.managed=true" --label "$label.job.id=1001" --label "$label.type=build")
trap 'docker rm -fv $(docker ps -aq --filter "label=$label.managed=true") >/dev/null 2>&1 || true
      docker volume rm -f $(docker volume ls -q --filter "label=$label.managed=true") >/dev/null 2>&1 || true
      docker network rm "$prefix-net" >/dev/null 2>&1 || true' EXIT

docker volume create --label "$label.managed=true" --driver local "$builds" >/dev/null
docker network create --label "$label.managed=true" "$prefix-net" >/dev/null

# Permissions of the volume, as set by the helper.
docker run --rm "${labels[@]}" "${volume_flags[@]}" "$HELPER_IMAGE" sh -c 'mkdir -p /builds/group && chmod 777 /builds /builds/group'

# run_stage IMAGE: script on stdin; created, attached, started, waited for and removed
run_stage() {
  local image=$1 id code
  id="$(docker create -i --network "$prefix-net" "${labels[@]}" "${volume_flags[@]}" \
    --env CI=true --env CI_PROJECT_DIR="$project" --env "CI_COMMIT_MESSAGE=$CI_COMMIT_MESSAGE" \
    --memory 256m --cap-drop NET_RAW --security-opt no-new-privileges \
    --entrypoint '' "$image" sh)"
  code=0
  docker start --attach --interactive "$id" || code=$?
  [ "$(docker wait "$id")" = "$code" ]
  [ "$(docker inspect --format '{{.State.ExitCode}}' "$id")" = "$code" ]
  docker rm -v "$id" >/dev/null
  return "$code"
}
CI_COMMIT_MESSAGE=$'Fix it\n\nwith "quotes", $dollars and a second line'

echo 'section_start: get_sources'
run_stage "$HELPER_IMAGE" <<'EOF'
set -eu
mkdir -p "$CI_PROJECT_DIR" && cd "$CI_PROJECT_DIR"
echo 'all: ; @echo built' >Makefile
printf '%s' "$CI_COMMIT_MESSAGE" >message
EOF

echo 'section_start: build_script'
out="$(run_stage "$BUILD_IMAGE" <<'EOF'
set -eu
cd "$CI_PROJECT_DIR"
test -f Makefile
echo "user $(id -u), $(wc -l <message) newlines"
mkdir -p .cache public && echo artifact >public/index.html
EOF
)"
[ "$out" = 'user 0, 2 newlines' ] || { echo "$out" >&2; exit 1; }

echo 'section_start: a job that fails'
code=0
run_stage "$BUILD_IMAGE" <<<'echo failing >&2; exit 42' 2>job.err || code=$?
[ "$code" = 42 ] && grep -qx failing job.err && rm job.err

echo 'section_start: upload_artifacts'
run_stage "$HELPER_IMAGE" <<<"cd $project && tar -cz public" | tar -xzO public/index.html | grep -qx artifact

# An interrupted job: the runner kills what bears its label.
docker run -d "${labels[@]}" "${volume_flags[@]}" "$BUILD_IMAGE" sleep 600 >/dev/null
docker ps --no-trunc --filter "label=$label.job.id=1001" --format '{{.ID}} {{.Label "com.gitlab.gitlab-runner.type"}}' |
  while read -r id type; do [ "$type" = build ]; docker kill "$id" >/dev/null; done
[ "$(docker ps -a --filter "label=$label.managed=true" --filter exited=137 -q | wc -l)" = 1 ]

docker container prune -f --filter "label=$label.managed=true" >/dev/null
docker volume prune -af --filter "label=$label.managed=true" >/dev/null
docker network prune -f --filter "label=$label.managed=true" >/dev/null
[ -z "$(docker volume ls -q)" ]
echo 'Job succeeded'
