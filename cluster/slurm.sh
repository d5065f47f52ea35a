#!/bin/bash
# One run on nodes of a Slurm cluster, in an environment where `evenfill` is installed:
#   sbatch cluster/slurm.sh --out s3://my-bucket/runs/first --set model.name=...
#SBATCH --job-name=evenfill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
set -u
RESTARTS=5 # after failures; a run that used its time up is not one

RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))') || exit 1
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN # other users of the network may not join
export address=$SLURMD_NODENAME:6379

srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
    if [ "$SLURM_NODEID" = 0 ]; then where="--head --port=6379"; else
        where="--address=$address"
        until ray health-check --address="$address"; do sleep 2; done
    fi
    exec ray start $where --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block' &

timeout 300 bash -c 'until ray health-check --address="$address"; do sleep 2; done' || exit 1
evenfill run --address "$address" "$@" &
run=$!

time_up=
trap 'time_up=1; kill -TERM $run' USR1 # three minutes before the limit
trap 'kill -TERM $run' TERM            # scancel, or a preemption, which requeues by itself
code=0
wait $run || code=$?
while kill -0 $run 2>/dev/null; do # a signal ends a wait, not the run
    code=0
    wait $run || code=$?
done

if [ -n "$time_up" ] && [ $code -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
else
    case $code in
        0 | 2 | 3 | 130 | 143) ;; # done; your input is wrong; unmet and explained; cancelled
        *) [ "${SLURM_RESTART_COUNT:-0}" -lt $RESTARTS ] && scontrol requeue "$SLURM_JOB_ID" ;;
    esac
fi
exit $code
