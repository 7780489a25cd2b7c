# SPDX-License-Identifier: Apache-2.0
"""The example of fine-tuning a language model: its sentences, its network, its runs, and what it prints and draws."""

import re
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, pad

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

sys.path.insert(0, str(EXAMPLES))
try:
    import finetune_minilm as example
    import finetune_minilm_data as data
    import finetune_minilm_model as model
    from experiment_report import conclusion
    from finetune_minilm_results import Results, accuracy_table
finally:
    sys.path.remove(str(EXAMPLES))

PARTS = {"test": data.TEST, "pool": data.MOST_EXAMPLES, "validation": data.VALIDATION}


@pytest.fixture(scope="module")
def corpus() -> data.Corpus:
    """The sentences, loaded once for all tests."""
    return example.workbench()[0]


def rows_of(sentences: data.Sentences) -> list[tuple[int, ...]]:
    """Sentences without their padding."""
    return [tuple(token for token in row if token != data.PADDING) for row in sentences.tokens.tolist()]


# ---- Sentences ------------------------------------------------------------------------------------------------------


def test_no_sentence_is_there_twice(corpus: data.Corpus) -> None:
    """Also not in two classes, so no split can have one on both sides."""
    rows = rows_of(corpus.test) + rows_of(corpus.others)
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("seed", [0, 5])
def test_parts_share_no_sentence_and_every_class_has_its_number(corpus: data.Corpus, seed: int) -> None:
    """Test sentences are the same for every seed, and what is drawn is not."""
    drawn = data.draw(corpus, seed)
    parts = {"test": corpus.test, "pool": drawn.pool, "validation": drawn.validation}
    rows = [row for part in parts.values() for row in rows_of(part)]
    assert len(set(rows)) == len(rows)
    for name, part in parts.items():
        assert part.labels.bincount().tolist() == [PARTS[name]] * len(corpus.classes)
    assert rows_of(drawn.pool) != rows_of(data.draw(corpus, seed + 1).pool)


def test_fewer_examples_are_among_the_more(corpus: data.Corpus) -> None:
    """And every class has as many."""
    drawn = data.draw(corpus, seed=0)
    fewer, more = drawn.examples(5), drawn.examples(10)
    assert set(rows_of(fewer)) < set(rows_of(more)) < set(rows_of(drawn.pool))
    assert fewer.labels.bincount().tolist() == [5] * len(corpus.classes)


def test_sentences_have_the_class_of_their_file(corpus: data.Corpus) -> None:
    """What tokens say is the beginning of a sentence in the file that the class is named after, and in no other's."""
    tokenizer = model.tokenizer()

    def words(text: str) -> str:
        # Letters and digits alone, so that it does not matter how a tokenizer puts spaces between its parts.
        return re.sub(r"[^a-z0-9]", "", text.lower())

    texts = {name: [words(text) for text in file] for name, file in data._texts().items()}
    for row, label in zip(rows_of(corpus.test), corpus.test.labels.tolist(), strict=True):
        said = words(tokenizer.decode(corpus.vocabulary[list(row)], skip_special_tokens=True))
        assert any(text.startswith(said) for text in texts[corpus.classes[label]]), said


def test_all_examples_come_equally_often(corpus: data.Corpus) -> None:
    """Batches have their size also where a round ends within one, and one of a pair has the shorter sentences."""
    examples = data.draw(corpus, seed=0).examples(5)
    batches, others = (
        list(islice(examples.random_batches(16, torch.Generator().manual_seed(seed)), 10)) for seed in range(2)
    )
    assert [len(batch) for batch in batches] == [16] * 10
    seen = Counter(row for batch in batches for row in rows_of(batch))
    assert set(seen) == set(rows_of(examples))
    assert max(seen.values()) - min(seen.values()) == 1  # 160 are not a multiple of 60
    for shorter, longer in zip(batches[::2], batches[1::2], strict=True):
        assert max(map(len, rows_of(shorter))) <= min(map(len, rows_of(longer)))
    assert rows_of(batches[0]) != rows_of(others[0])


# ---- Network --------------------------------------------------------------------------------------------------------


def test_padding_changes_no_score(corpus: data.Corpus) -> None:
    """Sums in another order differ by roundings of 6e-8 of scores near 1; six blocks may make some tens of them."""
    _, network, _ = example.workbench()
    batch = corpus.test.take(torch.arange(8))
    with torch.inference_mode():
        torch.testing.assert_close(
            network(pad(batch.tokens, (0, 5), value=data.PADDING)), network(batch.tokens), rtol=0, atol=1e-5
        )


def test_a_vocabulary_of_what_occurs_learns_the_same(corpus: data.Corpus) -> None:
    """One step, and every weight that both have is the same to the last bit: each is computed by itself."""
    batch = data.draw(corpus, seed=0).examples(1)
    networks = []
    for vocabulary, tokens in ((None, corpus.vocabulary[batch.tokens]), (corpus.vocabulary, batch.tokens)):
        torch.manual_seed(0)
        network = model.pretrained(len(corpus.classes), vocabulary)
        optimizer = example.AdamW(network, lr=1e-3, layer_decay=0.75)
        cross_entropy(network(tokens), batch.labels).backward()
        optimizer.step()
        networks.append(dict(network.named_parameters()))
    whole, part = networks
    words = "bert.embeddings.word_embeddings.weight"
    assert len(whole) == len(part) == 103
    assert torch.equal(whole.pop(words)[corpus.vocabulary], part.pop(words))
    for name, weights in part.items():
        assert torch.equal(whole[name], weights), name


# ---- Ways and runs --------------------------------------------------------------------------------------------------


def test_ways_differ_in_rates_as_they_say() -> None:
    """Rates at a step at which all train, relative to the head's, and the step at which each layer begins."""
    _, network, _ = example.workbench()
    steps = 24
    known = {}
    for way in example.WAYS:
        optimizer = example.optimizer_for(network, way, 1e-3, steps).native
        rates = dict(zip(optimizer.layers, np.array(optimizer.preview(steps)), strict=True))
        order = ["bert.embeddings", *(f"bert.encoder.layer.{block}" for block in range(6)), "head"]
        assert sorted(rates) == sorted(order)
        known[way.name] = np.array([rates[name] for name in order])
    # The head is the same in all: the schedule is.
    for rates in known.values():
        np.testing.assert_array_equal(rates[-1], known["one rate"][-1])
    # Up for a tenth of the steps, which is two, and all the way down: 1 of 22 parts are left at the last.
    assert known["one rate"][-1].argmax() == 2
    assert known["one rate"][-1, 2] == 1e-3
    assert known["one rate"][-1, -1] == pytest.approx(1e-3 * (1 + 31 / 22) / 32, rel=1e-14)
    distance = np.arange(7, -1, -1.0)
    # A power and a product, each within an ulp or two of the exact one.
    for name, factor in (("one rate", 1.0), ("layer decay", example.FALL), ("ULMFiT", 1 / 2.6)):
        np.testing.assert_allclose(known[name][:, -1] / known[name][-1, -1], factor**distance, rtol=1e-14)
    begins = {name: (rates > 0).argmax(axis=1).tolist() for name, rates in known.items()}
    assert begins["one rate"] == begins["layer decay"] == [0] * 8
    assert begins["ULMFiT"] == [14, 12, 10, 8, 6, 4, 2, 0]


@pytest.mark.spawns
def test_runs_know_nothing_of_each_other_nor_of_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run after another, and in another process, has the same accuracy and the same telemetry."""
    monkeypatch.syspath_prepend(str(EXAMPLES))  # what a new process imports from
    run = example.Run(examples=5, way=0, rate=1e-3, seed=0, steps=2, judged_by="validation")
    other = run._replace(way=1, seed=1)
    threads = torch.get_num_threads()
    with example.workers(1) as perform_all:
        first, between, again = perform_all([run, other, run])
    assert torch.get_num_threads() == threads
    with example.workers(2) as perform_all:
        away, between_away = perform_all([run, other])
    assert first == again == away
    assert between == between_away != first


def test_a_run_learns() -> None:
    """Ten steps take it from about a twelfth, which is chance, to well above."""
    run = example.Run(examples=20, way=1, rate=1e-3, seed=0, steps=10, judged_by="test")
    with example.workers(1) as perform_all:
        (outcome,) = perform_all([run])
    assert outcome.accuracy > 3 / 12
    assert len(outcome.history) == 10
    assert all(report.update_ratio > 0 for reports in outcome.history for report in reports.values())


# ---- Results --------------------------------------------------------------------------------------------------------


def some_results() -> Results:
    """One number of examples, two ways, two rates, two seeds for each purpose."""
    results = Results.empty([5], ["one rate", "ULMFiT"], [0.1, 1.0], choosing=2, testing=2)
    results.validation[0] = [[[0.8, 0.8], [0.6, 0.9]], [[0.5, 0.5], [0.7, 0.7]]]
    results.test[0] = [[0.6, 0.7], [0.9, 0.95]]
    return results


def test_rates_are_chosen_by_mean_validation_accuracy() -> None:
    """One good seed is not enough."""
    results = some_results()
    assert [results.rate(0, way) for way in range(2)] == [0.1, 1.0]


def test_comparisons_are_in_pairs_of_a_seed() -> None:
    """Gains of 0.3 and 0.25: their mean, and their standard deviation over the root of 2."""
    (comparison,) = some_results().compare()
    assert comparison.gain == pytest.approx(0.275)
    assert comparison.error == pytest.approx(0.025)
    assert comparison.verdict == "layer-wise"


@pytest.mark.parametrize(
    ("others", "verdict"), [([0.9, 0.95], "layer-wise"), ([0.5, 0.58], "one rate"), ([0.5, 0.9], "tie")]
)
def test_the_conclusion_says_who_wins_whoever_it_is(others: list[float], verdict: str) -> None:
    """Two standard errors decide."""
    results = some_results()
    results.test[0, 1] = others
    comparisons = results.compare()
    assert [comparison.verdict for comparison in comparisons] == [verdict]
    wins, losses, ties = (int(verdict == other) for other in ("layer-wise", "one rate", "tie"))
    assert (
        f"Of 1 comparisons, {wins} go to a layer-wise way, {losses} to one rate, and {ties} to neither."
        in conclusion("ULMFiT", comparisons)
    )


def test_the_table_marks_the_rate_chosen_and_the_best_way() -> None:
    """A star for the best on test sentences; bold for the rate that validation chose."""
    table = accuracy_table(some_results())
    cells = [list(column.cells) for column in table.columns]
    assert cells[2:] == [
        ["[bold]80[/]", "50"],
        ["75", "[bold]70[/]"],
        ["65.0 ± 7.1  ", "[bold green]92.5 ± 3.5 *[/]"],
    ]


# ---- All of it ------------------------------------------------------------------------------------------------------


def test_the_example_prints_a_table_and_draws_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run from end to end."""
    monkeypatch.setenv("COLUMNS", "80")
    example.main(["--quick", "--output", str(tmp_path)])
    printed = capsys.readouterr().out

    tests = {}
    for way in example.WAYS:
        row = next(line for line in printed.splitlines() if re.search(rf"\b{way.name}\b.*±", line))
        cells = re.search(rf"{way.name} +((?:\d+ +)+)(\d+\.\d) ± \d+\.\d", row)
        assert cells is not None, row
        assert len(cells[1].split()) == len(example.QUICK_RATES)
        tests[way.name] = float(cells[2])
    assert printed.count("*") == sum(mean == max(tests.values()) for mean in tests.values())
    assert all(0 <= mean <= 100 for mean in tests.values())

    assert all(f"bert.encoder.layer.{block}" in printed for block in range(6))  # the layers that were found
    assert re.search(r"Of 2 comparisons, \d go to a layer-wise way, \d to one rate, and \d to neither", printed)
    share = re.search(r"103 tensors, 22\.6 million.* backward (\d+) ms; Layerwise's step, [^;]* ([\d.]+) ms", printed)
    assert share is not None
    assert all(float(milliseconds) > 0 for milliseconds in share.groups())
    picture = tmp_path / "finetune_minilm.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in printed


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--steps", "0"], ["--workers", "0"]])
def test_impossible_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One seed has no spread."""
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert "at least 2 seeds" in capsys.readouterr().err
