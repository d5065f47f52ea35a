"""Train the safety gate's sentence classifier on the sentences in `benchmarks/safety`.

    python -m benchmarks.train_safety --natural counselchat_dev.csv mentalchat16k_early_779.jsonl

Twenty minutes on two cores. Writes `synth/gates/data/safety_sentences.npz` and prints, for a tenth
of the sentences that it did not train on, how many harmful ones are found at a given share of clean
ones that are taken for harmful.

Written sentences teach what breaks a rule, but real people's clean sentences look like none of
them. `--natural` names datasets to take some from: `benchmarks/safety/natural.jsonl` holds the
digests of those to use with their labels, and none of their text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModel, AutoTokenizer

from synth.gates.phrases import sentences
from synth.gates.sentences import MAX_TOKENS, SAFE, WEIGHTS, Side, changed_weights, mean_pooled
from synth.models import BUILTIN, resolve_embedder
from synth.sources import open_source

HERE = Path(__file__).parent
OUT = HERE.parent / "synth" / "gates" / "data" / WEIGHTS
BATCH = 32
BUCKET = 10  # batches that are sorted by length together


def read_sentences() -> list[tuple[str, str]]:
    """Pairs of text and label; the label with its side, as in `reply:diagnosis`."""
    pairs = []
    for path in sorted((HERE / "safety").glob("*.jsonl")):
        if path.stem == "natural":
            continue
        side = Side.CLIENT if path.stem.startswith("client") else Side.REPLY
        for line in path.read_text().splitlines():
            row = json.loads(line)
            pairs.append((row["text"], f"{side}:{row['label']}"))
    return pairs


class Classifier(torch.nn.Module):
    """The embedder, its layers free to change, and the head."""

    def __init__(self, labels: list[str]):
        super().__init__()
        path = str(resolve_embedder(BUILTIN))
        self.labels = labels
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModel.from_pretrained(path)
        self.model.requires_grad_(False)
        self.changed = dict(changed_weights(self.model))
        self._before = {name: weight.detach().clone() for name, weight in self.changed.items()}
        for weight in self.changed.values():
            weight.requires_grad_(True)
        self.head = torch.nn.Linear(self.model.config.hidden_size, len(labels))
        self._is_client = torch.tensor([label.startswith("client:") for label in labels])

    def forward(self, pairs: list[tuple[str, str]]) -> torch.Tensor:
        texts = [text for text, _ in pairs]
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        client = torch.tensor([label.startswith("client:") for _, label in pairs])
        logits = self.head(mean_pooled(self.model, tokens))
        return logits.masked_fill(client[:, None] != self._is_client[None, :], -1e4)

    def weights(self, rank: int) -> dict[str, Any]:
        """What `SentenceModel` reads: changes of matrices as factors of low rank."""
        arrays: dict[str, Any] = {"labels": json.dumps(self.labels)}
        for name, weight in self.changed.items():
            change = weight.detach() - self._before[name]
            if change.ndim == 1:
                arrays[name] = change.numpy().astype(np.float16)
                continue
            u, s, v = torch.svd_lowrank(change, q=rank, niter=4)
            arrays[f"{name}.up"] = (u * s.sqrt()).numpy().astype(np.float16)
            arrays[f"{name}.down"] = (v * s.sqrt()).T.contiguous().numpy().astype(np.float16)
        arrays["head"] = self.head.weight.detach().numpy().astype(np.float16)
        arrays["bias"] = self.head.bias.detach().numpy().astype(np.float16)
        return arrays


def digest(text: str) -> str:
    """What stands for a sentence that this project must not carry."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:16]


def read_natural(paths: Sequence[str]) -> list[tuple[str, str]]:
    """The sentences of datasets that `natural.jsonl` names, each with its label."""
    lines = (HERE / "safety" / "natural.jsonl").read_text().splitlines()
    labels = {row["digest"]: row["label"] for row in map(json.loads, lines)}
    found: dict[str, tuple[str, str]] = {}
    for path in paths:
        for row in open_source(path):
            for side, text in ((Side.CLIENT, row.question), (Side.REPLY, row.answer)):
                for sentence in sentences(text):
                    key = f"{side}:{digest(sentence.text)}"
                    if key in labels:
                        found[key] = (sentence.text.strip(), f"{side}:{labels[key]}")
    return list(found.values())


def batches(pairs: list[tuple[str, str]], rng: random.Random) -> list[list[tuple[str, str]]]:
    """Shuffled batches of sentences of about the same length."""
    rng.shuffle(pairs)
    found = []
    for start in range(0, len(pairs), BATCH * BUCKET):
        bucket = sorted(pairs[start : start + BATCH * BUCKET], key=lambda pair: len(pair[0]))
        found += [bucket[i : i + BATCH] for i in range(0, len(bucket), BATCH)]
    rng.shuffle(found)
    return found


def evaluate(classifier: Classifier, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """For each side: area under the curve, and recall at shares of clean ones refused."""
    classifier.eval()
    with torch.inference_mode():
        parts = [torch.softmax(classifier(pairs[i : i + 64]), -1) for i in range(0, len(pairs), 64)]
    probabilities = torch.cat(parts).numpy()
    classifier.train()
    safe = [i for i, label in enumerate(classifier.labels) if label.split(":")[1] in SAFE]
    harm = 1 - probabilities[:, safe].sum(axis=1)
    figures: dict[str, Any] = {}
    for side in Side:
        mine = np.array([label.startswith(side) for _, label in pairs])
        harmful = np.array([label.split(":")[1] not in SAFE for _, label in pairs])
        limits = np.quantile(harm[mine & ~harmful], [0.95, 0.98, 0.99])
        figures[side] = {
            "auc": round(float(roc_auc_score(harmful[mine], harm[mine])), 4),
            "recall_at_5_2_1_percent": [
                round(float((harm[mine & harmful] > limit).mean()), 3) for limit in limits
            ],
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--natural", nargs="*", default=[], metavar="DATASET")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rank", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pairs = read_sentences() + read_natural(options.natural)
    rng.shuffle(pairs)
    kept_out, pairs = pairs[: len(pairs) // 10], pairs[len(pairs) // 10 :]
    labels = sorted({label for _, label in pairs})
    classifier = Classifier(labels)
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.rate, weight_decay=0.01)
    steps = options.epochs * math.ceil(len(pairs) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * max(0.02, 1 - step / steps)
    )
    classifier.train()
    started = time.monotonic()
    for epoch in range(options.epochs):
        losses = []
        for batch in batches(pairs, rng):
            target = torch.tensor([labels.index(label) for _, label in batch])
            loss = torch.nn.functional.cross_entropy(classifier(batch), target)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        figures = {
            "epoch": epoch,
            "loss": round(sum(losses) / len(losses), 4),
            "seconds": round(time.monotonic() - started),
        }
        print(json.dumps(figures | evaluate(classifier, kept_out)), flush=True)
        np.savez_compressed(OUT, **classifier.weights(options.rank))


if __name__ == "__main__":
    main()
