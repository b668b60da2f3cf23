#!/usr/bin/env bash
# Backs a volume up while its container stands still, and restores it elsewhere.
#   BASE_IMAGE
set -euo pipefail

backup_dir=$(mktemp -d)
trap 'docker rm -f app restored >/dev/null 2>&1 || true; docker volume rm -f app-data app-copy app-clone >/dev/null 2>&1 || true; rm -rf "$backup_dir"' EXIT

docker run -d --name app -v app-data:/data "$BASE_IMAGE" sh -c '
  mkdir -p /data/deep/er && echo one >/data/one && ln -s one /data/link && chmod 750 /data/deep
  chown 1000:1000 /data/one; n=0; while :; do echo "$n" >>/data/counter; n=$((n+1)); sleep 0.05; done' >/dev/null
until docker exec app test -s /data/counter; do sleep 0.05; done

# The recipe of docker's documentation
docker stop -t 0 app >/dev/null
docker run --rm --volumes-from app -v "$backup_dir:/backup" "$BASE_IMAGE" tar cf /backup/backup.tar -C / data
[ "$(stat -c %u "$backup_dir/backup.tar")" = "$(id -u)" ]
docker run --rm -v app-copy:/data -v "$backup_dir:/backup:ro" "$BASE_IMAGE" sh -c 'cd /data && tar xf /backup/backup.tar --strip 1'

sums() { docker run --rm -v "$1:/d:ro" "$BASE_IMAGE" sh -c 'cd /d && find . | sort | xargs stat -c "%n %F %a %u" && cat one counter link | sha256sum'; }
diff <(sums app-data) <(sums app-copy)

# Through a pipe, with a pause instead of a stop
docker start app >/dev/null
docker pause app >/dev/null 2>&1 && paused=yes || paused=no
docker run --rm --volumes-from app:ro "$BASE_IMAGE" tar -C /data -cz . >"$backup_dir/app-$(date +%F).tgz"
if [ $paused = yes ]; then
  [ "$(docker inspect -f '{{.State.Status}}' app)" = paused ]
  docker unpause app >/dev/null
fi
docker volume create --label backup=true app-clone >/dev/null
docker run --rm -i -v app-clone:/data "$BASE_IMAGE" tar -C /data -xz <"$(ls -t "$backup_dir"/app-*.tgz | head -1)"
[ "$(docker run --rm -v app-clone:/data "$BASE_IMAGE" readlink /data/link)" = one ]
docker volume ls -q -f label=backup | grep -qx app-clone

# Straight from one volume into another
docker stop -t 1 app >/dev/null
docker volume rm app-copy >/dev/null
docker run --rm -v app-data:/from:ro -v app-copy:/to "$BASE_IMAGE" cp -a /from/. /to
diff <(sums app-data) <(sums app-copy)
docker run --rm -v app-data:/from:ro "$BASE_IMAGE" touch /from/x 2>/dev/null && exit 1

docker run -d --name restored --mount source=app-copy,target=/data "$BASE_IMAGE" sleep 600 >/dev/null
docker cp restored:/data/counter - | tar -xO | head -n 1 | grep -qx 0
[ "$(docker inspect -f '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{.Destination}}{{end}}{{end}}' restored)" = 'app-copy /data' ]
[ -d "$(docker volume inspect -f '{{.Mountpoint}}' app-copy)" ]
if docker volume rm app-copy 2>"$backup_dir/error"; then exit 1; fi
grep -q 'in use' "$backup_dir/error"
docker ps -a --filter volume=app-copy --format '{{.Names}}' | grep -qx restored
docker rm -f app restored >/dev/null
docker volume rm app-data app-copy app-clone
