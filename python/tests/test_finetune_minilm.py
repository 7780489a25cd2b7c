# SPDX-License-Identifier: Apache-2.0
"""The example of fine-tuning a language model: its sentences, its network, its runs, and what it prints and draws."""

import copy
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
    import auto_rates_text
    import finetune_minilm as example
    import finetune_minilm_data as data
    import finetune_minilm_model as model
    from experiment_report import conclusion
    from finetune_minilm_results import Results, accuracy_table
    from finetune_minilm_stability import Stability, in_words, stability_table
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
    for name, factor in (("one rate", 1.0), ("decay 0.75", 0.75), ("decay 0.5", 0.5), ("ULMFiT", 1 / 2.6)):
        np.testing.assert_allclose(known[name][:, -1] / known[name][-1, -1], factor**distance, rtol=1e-14)
    begins = {name: (rates > 0).argmax(axis=1).tolist() for name, rates in known.items()}
    assert begins["one rate"] == begins["decay 0.75"] == begins["decay 0.5"] == [0] * 8
    assert begins["ULMFiT"] == [14, 12, 10, 8, 6, 4, 2, 0]


def test_the_mean_rate_is_that_of_all_weights() -> None:
    """From the sizes of the network itself: each weight counts once, the words that do not occur not at all."""
    _, network, _ = example.workbench()
    sizes = [
        sum(weights.numel() for name, weights in network.named_parameters() if name.startswith(layer))
        for layer in ["bert.embeddings.", *(f"bert.encoder.layer.{block}." for block in range(6)), "head."]
    ]
    assert sum(sizes) == sum(weights.numel() for weights in network.parameters())
    shares = [example.mean_share(example.WAYS[index]) for index in example.SWEPT]
    assert shares[0] == 1
    for share, fall in zip(shares[1:], (0.75, 0.5), strict=True):
        weighted = sum(size * fall**distance for size, distance in zip(sizes, range(7, -1, -1), strict=True))
        assert share == pytest.approx(weighted / sum(sizes), rel=1e-12)


@pytest.mark.spawns
def test_runs_know_nothing_of_each_other_nor_of_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run after another, and in another process, has the same accuracy and the same telemetry."""
    monkeypatch.syspath_prepend(str(EXAMPLES))  # what a new process imports from
    run = example.Run(examples=5, way=0, rate=1e-3, seed=0, steps=2, judged_by="validation")
    other = run._replace(way=1, seed=1)
    threads = torch.get_num_threads()
    with example.workers(1, example.perform) as perform_all:
        first, between, again = perform_all([run, other, run])
    assert torch.get_num_threads() == threads
    with example.workers(2, example.perform) as perform_all:
        # One after the other, so that one process is enough: each takes seconds to start.
        (away,) = perform_all([run])
        (between_away,) = perform_all([other])
    assert first == again == away
    assert between == between_away != first


def test_a_run_learns() -> None:
    """Ten steps take it from about a twelfth, which is chance, to well above."""
    run = example.Run(examples=20, way=1, rate=1e-3, seed=0, steps=10, judged_by="test")
    with example.workers(1, example.perform) as perform_all:
        (outcome,) = perform_all([run])
    assert outcome.accuracy > 3 / 12
    assert len(outcome.history) == 10
    assert all(report.update_ratio > 0 for reports in outcome.history for report in reports.values())


# ---- Stability over base rates ---------------------------------------------------------------------------------------


def some_stability(other: list[list[float]], share: float = 0.1) -> Stability:
    """One rate that is best at 0.01 and at chance from 0.1 on, and another way, two seeds 0.02 apart."""
    stability = Stability.empty(10, 10, ["one rate", "decay"], [1.0, share], [0.001, 0.01, 0.1, 1.0], seeds=2)
    one = [[0.4, 0.44], [0.6, 0.64], [0.1, 0.1], [0.1, 0.1]]
    stability.accuracies[:] = [one, other]
    return stability


def moved(by: float) -> list[list[float]]:
    """The accuracies of one rate, a decade to the right, and better by so much where it learns."""
    return [[0.2, 0.2], [0.4 + by, 0.44 + by], [0.6 + by, 0.64 + by], [0.1, 0.1]]


def test_ranges_near_the_best_end_where_the_mean_crosses_the_level() -> None:
    """Along a line over the logarithm; at least so wide where the grid ends; none where nothing is near."""
    stability = some_stability([[0.62, 0.62], [0.62, 0.62], [0.1, 0.1], [0.1, 0.1]])
    assert stability.enough == pytest.approx(0.95 * 0.62)
    span = stability.near_the_best(0)
    assert span is not None
    # From 0.62 down by 0.05 * 0.62, of the 0.2 to the left and the 0.52 to the right, each a decade wide.
    assert span.low == pytest.approx(0.01 * 10 ** -(0.031 / 0.2))
    assert span.high == pytest.approx(0.01 * 10 ** (0.031 / 0.52))
    assert str(span) == f"{0.031 / 0.2 + 0.031 / 0.52:.1f}"
    other = stability.near_the_best(1)
    assert other is not None
    assert (other.low, other.is_open_below, other.is_open_above) == (pytest.approx(0.001), True, False)
    assert str(other) == f"≥ {1 + 0.031 / 0.52:.1f}"
    assert some_stability([[0.3, 0.3]] * 4).near_the_best(1) is None


def test_runs_near_chance_are_counted_and_end_what_is_safe() -> None:
    """Twice what guessing gives is near; a way whose best has such a run has no safe rate."""
    stability = some_stability([[0.5, 0.5], [0.6, 0.6], [0.5, 0.2], [0.3, 0.3]])
    assert stability.fallen.tolist() == [[0, 0, 2, 2], [0, 0, 1, 0]]
    assert [stability.highest_safe(way) for way in range(2)] == [0.01, 0.01]
    assert some_stability([[0.5, 0.5], [1.0, 0.2], [0.1, 0.1], [0.1, 0.1]]).highest_safe(1) is None
    assert some_stability([[0.5, 0.5], [0.6, 0.6], [0.5, 0.5], [0.3, 0.3]]).highest_safe(1) == 1.0


def test_a_curve_that_is_only_moved_has_no_gain_at_the_same_mean_rate() -> None:
    """At the same mean rate both curves are one where both learn; at the same base rate the moved one is better."""
    stability = some_stability(moved(0))
    base, mean = (stability.at_the_same(1, mean=mean) for mean in (False, True))
    # Differences of -0.22, -0.2, 0.52 and 0 at four rates, between which curves are lines: (-0.21 + 0.16 + 0.26) / 3,
    # but for the ends, which count half a point of 200 too much.
    assert base.gain == pytest.approx(0.07, abs=0.26 / 200)
    # Between 0.001 and 0.1: the same from 0.001 to 0.01, and from there down to chance.
    assert mean.gain == pytest.approx(0, abs=1e-12)
    better = some_stability(moved(0.05)).at_the_same(1, mean=True)
    assert better.gain > 0.03
    assert stability.best(1).gain == 0
    assert some_stability(moved(0.05)).best(1).gain == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (moved(0.05), "remain at the same mean rate"),
        (moved(0), "at the same mean rate it is a tie"),
        (moved(-0.05), "at the same mean rate one rate is better"),
        ([[0.3, 0.34], [0.5, 0.54], [0.1, 0.1], [0.1, 0.1]], "decay is not better than one rate at the same base rate"),
    ],
)
def test_words_say_what_remains_whatever_it_is(other: list[list[float]], says: str) -> None:
    """And how far each way goes, in base rates and in mean rates."""
    text = in_words(some_stability(other))
    assert says in text
    assert (
        sum(text.count(each) for each in ("remain at the", "it is a tie.", "one rate is better.", "is not better")) == 1
    )
    assert "one rate: no run ends near chance up to 1e-02, a mean rate of 1.0e-02 (1.00 of the base rate)." in text


def test_the_table_of_rates_counts_runs_near_chance() -> None:
    """Two rows a way: accuracies with their spread and the range, and counts."""
    columns = [list(column.cells) for column in stability_table(some_stability(moved(0))).columns]
    assert columns[0] == ["one rate", "  near chance", "decay", "  near chance"]
    assert columns[3] == ["10.0\n± 0.0", "2 of 2", "[bold green]62.0\n± 2.8[/]", "·"]
    assert columns[-1][1::2] == ["4", "4"]


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


@pytest.fixture
def few_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies of the first sentences only, fewer steps, and fewer sentences in each.

    These are whole runs, of which the numbers prove nothing.
    """
    accuracy = model.Classifier.accuracy
    monkeypatch.setattr(
        model.Classifier, "accuracy", lambda self, sentences: accuracy(self, sentences.take(torch.arange(16)))
    )
    monkeypatch.setattr(example, "BATCH", auto_rates_text.PARTS)
    monkeypatch.setattr(auto_rates_text, "BATCH", auto_rates_text.PARTS)
    monkeypatch.setattr(example, "QUICK_STEPS", 2)
    monkeypatch.setattr(auto_rates_text, "QUICK_STEPS", 2)
    monkeypatch.setattr(auto_rates_text, "QUICK_FINDER", (8, 1, 2))


@pytest.mark.usefixtures("few_sentences")
def test_the_example_prints_a_table_and_draws_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run from end to end."""
    monkeypatch.setenv("COLUMNS", "80")
    example.main(["--quick", "--output", str(tmp_path)])
    printed = capsys.readouterr().out

    chosen = printed.index("Accuracy in %: on validation")
    for index in example.SWEPT:
        assert re.search(rf"{example.WAYS[index].name}: .*\d\.\d\d of the base rate", printed[:chosen])
    assert re.search(r"the same mean rate +decay 0\.5 +[+-]\d+\.\d ± \d+\.\d", printed[:chosen])
    printed, of_rates = printed[chosen:], printed[:chosen]
    assert of_rates.count("near chance  ") == len(example.SWEPT)

    tests = {}
    for way in example.COMPARED:
        row = next(line for line in printed.splitlines() if re.search(rf"\b{way.name}\b.*±", line))
        cells = re.search(rf"{way.name} +((?:\d+ +)+)(\d+\.\d) ± \d+\.\d", row)
        assert cells is not None, row
        assert len(cells[1].split()) == len(example.QUICK_RATES)
        tests[way.name] = float(cells[2])
    assert printed.count("*") == sum(mean == max(tests.values()) for mean in tests.values())
    assert all(0 <= mean <= 100 for mean in tests.values())

    assert all(f"bert.encoder.layer.{block}" in of_rates for block in range(6))  # the layers that were found
    assert re.search(r"Of 2 comparisons, \d go to a layer-wise way, \d to one rate, and \d to neither", printed)
    share = re.search(r"103 tensors, 22\.6 million.* backward (\d+) ms; Layerwise's step, [^;]* ([\d.]+) ms", printed)
    assert share is not None
    assert all(float(milliseconds) > 0 for milliseconds in share.groups())
    for picture in (tmp_path / "finetune_minilm_rates.png", tmp_path / "finetune_minilm.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert str(picture) in printed


@pytest.mark.parametrize("arguments", [["--seeds", "1"], ["--steps", "0"], ["--workers", "0"]])
def test_impossible_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One seed has no spread."""
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert "at least 2 seeds" in capsys.readouterr().err


# ---- Rates that find themselves -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_sentences")
def test_measured_policies_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick run of two blocks: every way has its accuracy, every measured policy and the finder two differences."""
    monkeypatch.setenv("COLUMNS", "120")
    sentences, whole, _ = example.workbench()
    network = copy.deepcopy(whole)
    network.bert.encoder.layer = network.bert.encoder.layer[:2]
    weights = {name: values.clone() for name, values in network.state_dict().items()}
    monkeypatch.setattr(auto_rates_text, "workbench", lambda: (sentences, network, weights))
    auto_rates_text.main(["--quick", "--output", str(tmp_path)])
    rows = [line for line in capsys.readouterr().out.splitlines() if "±" in line]
    assert (tmp_path / "auto_rates_text.png").read_bytes().startswith(b"\x89PNG")
    for name in [way.name.strip() for way in auto_rates_text.MEASURED] + list(auto_rates_text.FOUND):
        (row,) = (line for line in rows if line.strip().startswith(name))
        assert row.count("±") == 3, row


def test_rates_of_ways_are_chosen_on_validation_only() -> None:
    """A rate that shines on test sentences alone is not chosen."""
    ways = range(len(auto_rates_text.WAYS))
    runs, outcomes = [auto_rates_text.Run(None, 0.0, 0, 1)], [auto_rates_text.Outcome(np.nan, (0.5, 0.5), 0.1, [], [])]
    for way in ways:
        for rate, validation, test in ((1e-3, 0.9, 0.4), (1e-2, 0.2, 0.8)):
            runs.append(auto_rates_text.Run(way, rate, 0, 1))
            outcomes.append(auto_rates_text.Outcome(validation, (test,), rate, [], []))
    results = auto_rates_text.chosen(runs, outcomes)
    assert [results.after(way).tolist() for way in ways] == [[0.4]] * len(ways)
    assert results.found == [outcomes[0]]
