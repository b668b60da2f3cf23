#!/usr/bin/env bash
# Makes one layer of many, by export and import, keeping what the image says.
#   BASE_IMAGE
set -euo pipefail

trap 'docker rm -f flat-src >/dev/null 2>&1 || true; docker images --format "{{.Repository}}:{{.Tag}}" "acme/*" | xargs -r docker rmi -f >/dev/null' EXIT
docker build -q -t acme/layers - >/dev/null <<EOF
FROM $BASE_IMAGE
RUN dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null
RUN rm /big && echo kept >/small && chown 33:33 /small
ENV MODE=production
WORKDIR /srv
USER 33
EXPOSE 8080
CMD ["sh", "-c", "echo \$MODE \$(pwd) \$(id -u) \$(cat /small)"]
EOF
expected="$(docker run --rm acme/layers)"
[ "$expected" = 'production /srv 33 kept' ]

docker create --name flat-src acme/layers >/dev/null
docker export flat-src | docker import \
  --change "ENV MODE=$(docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' acme/layers | sed -n 's/^MODE=//p')" \
  --change "WORKDIR $(docker inspect -f '{{.Config.WorkingDir}}' acme/layers)" \
  --change "USER $(docker inspect -f '{{.Config.User}}' acme/layers)" \
  --change "CMD $(docker inspect -f '{{json .Config.Cmd}}' acme/layers)" \
  --message "flattened from acme/layers" - acme/flat:1
[ "$(docker run --rm acme/flat:1)" = "$expected" ]
[ "$(docker inspect -f '{{len .RootFS.Layers}}' acme/flat:1)" = 1 ]
(( $(docker inspect -f '{{len .RootFS.Layers}}' acme/layers) > 2 ))
(( $(docker inspect -f '{{.Size}}' acme/flat:1) + 8000000 < $(docker inspect -f '{{.Size}}' acme/layers) ))
docker history acme/flat:1 | grep -q 'flattened from'

docker export -o rootfs.tar flat-src
tar -tvf rootfs.tar --numeric-owner | grep -Eq '^-rw-r--r-- 33/33 .* small$'
cat rootfs.tar | docker import - acme/flat:2 | grep -q '^sha256:'
if docker run --rm acme/flat:2 2>/dev/null; then echo "there is no command" >&2; exit 1; fi
[ "$(docker run --rm acme/flat:2 cat /small)" = kept ]
docker import rootfs.tar >id
docker tag "$(cat id)" acme/flat:3
[ "$(docker inspect -f '{{.Id}}' acme/flat:3)" = "$(cat id)" ]

# and by commit
docker start flat-src >/dev/null; docker wait flat-src >/dev/null
docker cp id flat-src:/srv/id
docker commit --change 'LABEL flat=no' --change='ENTRYPOINT ["cat"]' -c 'CMD ["/srv/id"]' -m changed -a ci flat-src acme/committed | grep -q '^sha256:'
[ "$(docker run --rm --user 0 acme/committed)" = "$(cat id)" ]
[ "$(docker inspect -f '{{.Config.Labels.flat}} {{.Author}}' acme/committed)" = 'no ci' ]
docker tag acme/flat:1 acme/layers:latest
[ "$(docker images acme/layers --format '{{.ID}}')" = "$(docker images -q acme/flat:1)" ]
docker rm flat-src >/dev/null
rm rootfs.tar id
docker image prune -f >/dev/null
echo OK
