#!/usr/bin/env bash
#SBATCH --job-name=cvbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#
# One command on the nodes of an allocation, each with a Ray node, the first with the head as well:
#
#        sbatch deploy/slurm.sh extract --dataset cub200 --data-root /data --backbone convnext-base --store /shared/s.zarr
#
# CVBENCH_ENV names the environment that has cvbench, the same path on every node. Two minutes before its time is over the
# command gets a SIGTERM, ends with 143, and the job is put into the queue again: it goes on from what is committed.
set -euo pipefail

if (($# == 0)); then
    echo "usage: sbatch $0 extract ..." >&2
    exit 2
fi
environment="${CVBENCH_ENV:-$HOME/cvbench-env}"
# shellcheck source=/dev/null
. "$environment/bin/activate"

port=$((20000 + SLURM_JOB_ID % 20000))
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}"
address="$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):$port"

# A token of this job alone, in a folder that its owner alone can read and all nodes see.
secret="$(mktemp -d "$HOME/.cvbench-$SLURM_JOB_ID-XXXXXX")"
trap 'rm -rf "$secret"' EXIT
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > "$secret/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$secret/token" OMP_WAIT_POLICY=passive

gpus="${SLURM_GPUS_ON_NODE:-4}"
cores="${SLURM_CPUS_PER_TASK:-32}"
srun --nodes=1 --ntasks=1 --overlap -w "$head" ray start --block --head --port="$port" --dashboard-host=127.0.0.1 \
    --num-gpus="$gpus" --num-cpus="$cores" &
for node in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 --overlap -w "$node" ray start --block --address="$address" \
        --num-gpus="$gpus" --num-cpus="$cores" &
done

# No more than are there yet would be used: wait for all nodes, two minutes at most.
RAY_ADDRESS="$address" python - "${#nodes[@]}" << 'WAIT'
import sys
import time

import ray

for attempt in range(24):
    try:
        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False)
        if sum(node["Alive"] for node in ray.nodes()) >= int(sys.argv[1]):
            break
    except ConnectionError:
        pass
    time.sleep(5)
else:
    sys.exit("cvbench: not all nodes of the allocation have joined")
WAIT

export RAY_ADDRESS="$address"
cvbench "$@" --threads "$((cores / gpus))" &
command=$!
again() {
    kill -TERM "$command" 2> /dev/null || true
    wait "$command" || true
    scontrol requeue "$SLURM_JOB_ID"
}
trap again TERM
wait "$command"
