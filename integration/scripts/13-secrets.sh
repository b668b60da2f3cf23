#!/usr/bin/env bash
# Secrets of builds and of containers: they get where they are needed and nowhere else.
#   BASE_IMAGE
set -euo pipefail

dir=$(mktemp -d)
chmod 700 "$dir"
trap 'docker rm -f with-env >/dev/null 2>&1 || true; docker rmi -f secret-app >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT

export NPM_TOKEN="npm_$RANDOM$RANDOM"
echo "//npm.example.com/:_authToken=$NPM_TOKEN" >"$dir/npmrc"
ssh-keygen -q -t ed25519 -N '' -f "$dir/id" -C ci

cat >"$dir/Dockerfile" <<EOF
FROM $BASE_IMAGE
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,required=true grep -o 'authToken' /root/.npmrc
RUN --mount=type=secret,id=NPM_TOKEN,env=TOKEN test -n "\$TOKEN" && echo "\${#TOKEN}" >/length
RUN test ! -s /root/.npmrc && test ! -e /run/secrets/npmrc && test -z "\${TOKEN:-}"
EOF
docker build --progress=plain --secret id=npmrc,src="$dir/npmrc" --secret id=NPM_TOKEN,env=NPM_TOKEN -t secret-app "$dir" >"$dir/build.log" 2>&1 || { cat "$dir/build.log" >&2; exit 1; }
[ "$(docker run --rm secret-app cat /length)" = "${#NPM_TOKEN}" ]

echo "no trace of it:"
grep -q "$NPM_TOKEN" "$dir/build.log" && exit 1
docker history --no-trunc secret-app | grep -q "$NPM_TOKEN" && exit 1
docker inspect secret-app | grep -q "$NPM_TOKEN" && exit 1
docker save secret-app | grep -qa "$NPM_TOKEN" && exit 1
if docker build --no-cache "$dir" >"$dir/build.log" 2>&1; then
  echo "the build must ask for its secret" >&2; exit 1
fi
grep -qi 'npmrc' "$dir/build.log"

echo "an agent:"
eval "$(ssh-agent -s -a "$dir/agent")" >/dev/null
ssh-add -q "$dir/id" 2>/dev/null
docker build -q --ssh default -f - . >/dev/null <<EOF
FROM $BASE_IMAGE
RUN --mount=type=ssh test -S "\$SSH_AUTH_SOCK"
EOF
ssh-agent -k >/dev/null

echo "an environment file:"
cat >"$dir/prod.env" <<'EOF'
# the database
DB_PASSWORD=p@ss word=with#signs
DB_USER=app
EMPTY=
NPM_TOKEN
NOT_SET_ANYWHERE
EOF
docker run -d --name with-env --env-file "$dir/prod.env" -e DB_USER=override --env HOME=/tmp secret-app sleep 600 >/dev/null
[ "$(docker exec with-env sh -c 'echo "$DB_PASSWORD"')" = 'p@ss word=with#signs' ]
[ "$(docker exec with-env sh -c 'echo "$DB_USER"')" = override ]
[ "$(docker exec with-env sh -c 'echo "$NPM_TOKEN"')" = "$NPM_TOKEN" ]
docker exec with-env sh -c 'test "${EMPTY-unset}" = "" && test "${NOT_SET_ANYWHERE-unset}" = unset'
[ "$(docker exec --env-file "$dir/prod.env" -e MORE=1 with-env sh -c 'echo $DB_USER $MORE')" = 'app 1' ]
docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' with-env | grep -c '^DB_' | grep -qx 2

echo "a mounted file:"
install -m 600 /dev/null "$dir/key"; printf hush >"$dir/key"
[ "$(docker run --rm -v "$dir/key:/run/secrets/key:ro" secret-app cat /run/secrets/key)" = hush ]
echo OK
