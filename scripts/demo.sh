#!/usr/bin/env bash
# The main job on real data: environment, data and encoder, what the data is like, training, comparison with what is
# free, recommendations, and a cold-start experiment. Under 15 minutes on two cores. Another config can be given:
# scripts/demo.sh configs/movielens-1m.yaml
set -euo pipefail
source "$(dirname "$0")/environment.sh"
config=${1:-configs/movielens-100k.yaml}
name=$(basename "$config" .yaml)
run=runs/$name/demo
best=$run/checkpoints/best.ckpt

echo "== 1. data and encoder"
recall-lightning fetch "$name"
recall-lightning fetch minilm

recall-lightning check --config "$config"

echo "== 2. training (TensorBoard: .venv/bin/tensorboard --logdir runs)"
rm -rf "$run"
recall-lightning fit --config "$config" --trainer.logger.init_args.version demo

echo "== 3. test, against tuned baselines (as files in $run/comparison)"
recall-lightning compare --config "$config" --ckpt "$best" --out "$run/comparison"

echo "== 4. recommendations"
for histories in "downloads/$name"/{*.inter,u.data,ratings.dat}; do  # whichever source it came from
  [ -f "$histories" ] && break
done
recall-lightning recommend --ckpt "$best" --histories "$histories" --out "$run/recommendations.csv" --k 10 --show 2
echo
recall-lightning similar --ckpt "$best" --text "a heist goes wrong" --k 5

echo "== 5. cold start: users held out whole, of whom one to ten interactions are told"
users=configs/cold-users/$name.yaml
cold=runs/$name-cold-users
rm -rf "$cold/base" "$cold/maml"
recall-lightning fit --config "$users" --trainer.logger.init_args.version base
recall-lightning fit --config "$users" --config configs/cold-users/maml.yaml \
  --model.init_from "$cold/base/checkpoints/best.ckpt" --trainer.logger.init_args.version maml --trainer.max_epochs 9
recall-lightning adapt --ckpt "$cold/maml/checkpoints/best.ckpt" --config "$users" \
  --config configs/cold-users/maml.yaml --models popularity,item-knn,ease --out "$cold/adaptation"
