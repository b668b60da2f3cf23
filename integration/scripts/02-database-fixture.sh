#!/usr/bin/env bash
# Runs tests against a database in a container: starts it, waits for it, loads schema and fixtures,
# checks them, dumps, and cleans up whatever happens.
#   POSTGRES_IMAGE
set -euo pipefail

NAME="test-db-$$"
VOLUME="test-db-data-$$"
PASSWORD="s3cret pass"
TIMEOUT=300

cleanup() {
  status=$?
  if [ $status -ne 0 ]; then
    echo "--- database logs" >&2
    docker logs "$NAME" >&2 || true
  fi
  docker rm --force --volumes "$NAME" >/dev/null 2>&1 || true
  docker volume rm "$VOLUME" >/dev/null 2>&1 || true
  exit $status
}
trap cleanup EXIT INT TERM

docker volume create "$VOLUME" >/dev/null
docker run \
  --detach \
  --name "$NAME" \
  --env POSTGRES_PASSWORD="$PASSWORD" \
  --env POSTGRES_DB=shop \
  --publish 127.0.0.1::5432 \
  --volume "$VOLUME":/var/lib/postgresql/data \
  --tmpfs /run/postgresql \
  --shm-size 64m \
  --health-cmd pg_isready \
  --health-interval 1s \
  --health-timeout 5s \
  --health-retries 10 \
  "$POSTGRES_IMAGE" >/dev/null

# 1. the log says so
until docker logs "$NAME" 2>&1 | grep -q "database system is ready to accept connections"; do
  if [ $((TIMEOUT--)) -le 0 ]; then echo "timed out waiting for the log" >&2; exit 1; fi
  sleep 0.1
done

# 2. the client inside says so
for i in $(seq 1 300); do
  docker exec "$NAME" pg_isready -U postgres >/dev/null 2>&1 && break
  sleep 0.1
  [ "$i" -lt 300 ] || exit 1
done

# 3. the published port answers
PORT="$(docker port "$NAME" 5432/tcp | head -n1 | cut -d: -f2)"
until (echo >/dev/tcp/127.0.0.1/"$PORT") 2>/dev/null; do sleep 0.1; done

# 4. the health check says so
while [ "$(docker inspect -f '{{.State.Health.Status}}' "$NAME")" != "healthy" ]; do sleep 0.1; done

docker exec -i "$NAME" psql -U postgres -d shop <<'EOF'
create table customers (id integer primary key, name text not null);
create table orders (id integer primary key, customer integer references customers(id), cents integer);
EOF
{
  for i in $(seq 1 200); do
    echo "insert into customers values ($i, 'customer $i');"
    echo "insert into orders values ($i, $i, $((i * 100)));"
  done
} | docker exec -i "$NAME" psql -q -U postgres -d shop

count="$(docker exec -e PGPASSWORD="$PASSWORD" "$NAME" psql -U postgres -d shop -tAc 'select count(*) from orders')"
[ "$count" = 200 ] || { echo "expected 200 orders, got '$count'" >&2; exit 1; }
total="$(docker exec "$NAME" sh -c 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -tAc "select sum(cents) from orders"')"
[ "$total" = 2010000 ]
docker exec "$NAME" printenv POSTGRES_PASSWORD | grep -qxF "$PASSWORD"

# A failing statement fails the command.
if docker exec -i "$NAME" psql -U postgres -d shop -c 'select * from nowhere' 2>/dev/null; then exit 1; fi

# The data survives a restart and a new container on the same volume.
docker restart -t 5 "$NAME" >/dev/null
until docker exec "$NAME" pg_isready -q 2>/dev/null; do sleep 0.1; done
[ "$(docker exec "$NAME" psql -U postgres -d shop -tAc 'select name from customers where id = 7')" = 'customer 7' ]
docker stop "$NAME" >/dev/null
docker logs "$NAME" 2>&1 | tail -n 1 | grep -q 'shut down'
docker rm "$NAME" >/dev/null
docker run -d --name "$NAME" -e POSTGRES_DB=shop -v "$VOLUME":/var/lib/postgresql/data "$POSTGRES_IMAGE" >/dev/null
until docker exec "$NAME" pg_isready -q 2>/dev/null; do sleep 0.1; done
docker exec "$NAME" pg_dump -U postgres shop | gzip >dump.sql.gz
[ "$(zcat dump.sql.gz | grep -c '^INSERT INTO "customers"')" = 200 ]
rm dump.sql.gz
echo OK
