#!/usr/bin/env bash
# Splits a test suite over containers, waits for all, and gathers what they have found.
#   BASE_IMAGE
set -euo pipefail

SHARDS=4
trap 'docker ps -aq --filter label=suite=shards | xargs -r docker rm -f >/dev/null' EXIT
mkdir -p reports tests
for i in $(seq 12); do echo "exit $(( i == 7 ? 3 : 0 ))" >"tests/t$i.sh"; done

ids=()
for shard in $(seq 0 $((SHARDS - 1))); do
  ids+=("$(docker run -d --label suite=shards --label "shard=$shard" --name "shard-$shard" \
    -e SHARD="$shard" -e SHARDS="$SHARDS" --cpus 0.5 -m 64m --pids-limit 50 \
    -v "$PWD/tests:/tests:ro" -v "$PWD/reports:/reports" "$BASE_IMAGE" sh -c '
      failed=0
      for t in /tests/t*.sh; do
        n=${t##*/t}; n=${n%.sh}
        [ $((n % SHARDS)) = "$SHARD" ] || continue
        if sh "$t"; then r=ok; else r="failed $?"; failed=1; fi
        echo "$n $r" >>/reports/$SHARD
      done
      exit $failed' 2>/dev/null)")
done

codes="$(docker wait "${ids[@]}" | tr '\n' ' ')"
[ "$codes" = '0 0 0 1 ' ]
cat reports/* | sort -n >all
[ "$(wc -l <all)" = 12 ] && [ "$(grep -v ok all)" = '7 failed 3' ]

failed="$(docker ps -a -f label=suite=shards -f exited=1 --format '{{.Label "shard"}}')"
[ "$failed" = 3 ]
docker inspect -f '{{.Name}} {{.State.ExitCode}}' "${ids[@]}" | sort | head -n 1 | grep -qx '/shard-0 0'
docker inspect "${ids[@]}" | jq -r '[.[] | select(.State.ExitCode != 0) | .Name] | join(",")' | grep -qx /shard-3
docker inspect -f '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}' shard-0 | grep -qx '500000000 67108864'

# Again, in parallel by the shell and by xargs
docker rm "${ids[@]}" >/dev/null
pids=()
for n in 1 2 3; do docker run --rm --label suite=shards "$BASE_IMAGE" sh -c "exit $((n - 1))" & pids+=($!); done
sum=0; for pid in "${pids[@]}"; do wait "$pid" || sum=$((sum + $?)); done
[ "$sum" = 3 ]
seq 6 | xargs -P 3 -I{} docker run --rm --label suite=shards "$BASE_IMAGE" sh -c 'echo $(({} * {}))' | sort -n | tr '\n' ' ' | grep -qx '1 4 9 16 25 36 '

# One that hangs is killed, with its code
docker run -d --rm --label suite=shards --name hangs "$BASE_IMAGE" sleep 600 >/dev/null
docker wait hangs >code & waiter=$!
sleep 0.3
timeout 0.3 docker wait hangs || [ $? = 124 ]
docker kill hangs >/dev/null
wait "$waiter"; [ "$(cat code)" = 137 ]
for _ in $(seq 300); do [ -z "$(docker ps -aq)" ] && break; sleep 0.1; done
[ -z "$(docker ps -aq --filter label=suite=shards)" ]
rm -rf reports tests all code
echo OK
