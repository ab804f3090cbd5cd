"""Settings from YAML and KEY=VALUE pairs: what is taken, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from grcsf.config import PeerName, Settings, load_settings
from grcsf.errors import SettingsError


def test_nothing_given_gives_the_defaults() -> None:
    assert load_settings() == Settings()


def test_a_yaml_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 7\ntraining:\n  steps: 12\nnetwork: {gcu: kept, features: [8, 16, 32, 64]}\n")
    found = load_settings(path)
    assert (found.seed, found.training.steps, found.network.gcu) == (7, 12, "kept")
    assert found.network.features == (8, 16, 32, 64)
    assert found.mae == Settings().mae
    assert found.training.model_copy(update={"steps": Settings().training.steps}) == Settings().training


def test_pairs_come_after_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {steps: 12, batch_size: 3}\n")
    found = load_settings(path, ["training.steps=13", "training.steps=14"])
    assert (found.training.steps, found.training.batch_size) == (14, 3)


@pytest.mark.parametrize(
    ("pair", "where", "value"),
    [
        ("seed=3", ("seed",), 3),
        ("network.features=[16,32,64,96]", ("network", "features"), (16, 32, 64, 96)),
        ("preprocess.spacing_mm=null", ("preprocess", "spacing_mm"), None),
        ("training.learning_rate=1e-3", ("training", "learning_rate"), 0.001),
        ("network.rcu=false", ("network", "rcu"), False),
        ("network.rcu=no", ("network", "rcu"), False),
        ("network.gcu=off", ("network", "gcu"), "off"),
        ("training.augmentation=off", ("training", "augmentation"), "off"),
    ],
)
def test_pair_values_are_yaml(pair: str, where: tuple[str, ...], value: object) -> None:
    found: object = load_settings(None, [pair])
    for name in where:
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize("word", ["off", "Off", "OFF", "no", "on", "yes"])
def test_only_true_and_false_are_truth_values_in_yaml(tmp_path: Path, word: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"network:\n  gcu: {word}\n")
    if word == "off":
        assert load_settings(path).network.gcu == "off"
    else:
        with pytest.raises(SettingsError, match=f"'{word}'"):
            load_settings(path)


def test_settings_come_back_from_the_yaml_that_a_run_writes(tmp_path: Path) -> None:
    settings = load_settings(None, ["network.gcu=off", "mae.ratios=[0.75]", "preprocess.spacing_mm=[1, 2.5]"])
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
    assert load_settings(path) == settings


def test_a_base_is_changed_and_not_replaced(tmp_path: Path) -> None:
    base = load_settings(None, ["training.steps=5", "mae.steps=6"])
    path = tmp_path / "mine.yaml"
    path.write_text("mae: {steps: 9}\n")
    found = load_settings(path, ["seed=1"], base=base)
    assert (found.training.steps, found.mae.steps, found.seed) == (5, 9, 1)
    assert (base.mae.steps, base.seed) == (6, 0)


@pytest.mark.parametrize("text", ["", "# only a remark\n", "training:\n", "training: {}\n"])
def test_an_empty_file_or_heading_changes_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_settings(path, ["training.steps=5"]) == load_settings(None, ["training.steps=5"])


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_an_unknown_key_lists_the_known_ones_of_its_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, ["inference.treshold=0.4"])
    assert str(caught.value) == (
        "--set inference.treshold=0.4: unknown setting 'inference.treshold'; known here: "
        "overlap, batch_size, mirroring, threshold, min_lesion_mm, min_lesion_peak, unknown_anatomy, candidate_hu, "
        "candidate_rule"
    )
    path = tmp_path / "mine.yaml"
    path.write_text("trainings: {steps: 3}\n")
    with pytest.raises(
        SettingsError, match=r"mine\.yaml: unknown setting 'trainings'; known here: seed, workers, prep"
    ):
        load_settings(path)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("training.steps=many", "training.steps: .*integer.*found 'many'"),
        ("training.steps=0", "training.steps: .*greater than or equal to 1.*found 0"),
        ("training.steps=2.5", "training.steps: .*integer.*found 2.5"),
        ("training=5", "training: .*found 5"),
        ("training.minutes.long=5", "training.minutes: .*number"),
        (
            "network.backbone=transformer",
            "network.backbone: .*'residual-unet', 'plain-unet', .*'unetr'.*found 'transformer'",
        ),
        ("network.features=[16]", "network.features: .*at least 2 items"),
        ("network.features=[16,0,8,8]", r"network: features \[16, 0, 8, 8\]: expected numbers above 0"),
        ("training.selection_fraction=0.9", "training.selection_fraction: .*less than 0.5"),
        ("seed=-1", "seed: .*greater than or equal to 0"),
        ("mae.heads=3", "dim 128 must be a multiple of heads 3"),
        ("mae.window=[0, 8]", r"window \[0, 8\]: expected numbers above 0"),
        ("residual.cosine_window=4", "cosine_window: expected an odd number"),
        ("network.rcu_heads=5", "rcu_dim 64 must be a multiple of rcu_heads 5"),
    ],
)
def test_a_value_that_does_not_fit_names_setting_and_value(pair: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings(None, [pair])


OWN_UNITS_OFF = ("network.gcu=off", "network.rcu=false")


@pytest.mark.parametrize("name", get_args(PeerName))
def test_a_peer_says_what_to_switch_off(name: str) -> None:
    with pytest.raises(SettingsError, match=r"add --set network\.gcu=off --set network\.rcu=false$"):
        load_settings(None, [f"network.backbone={name}"])
    with pytest.raises(SettingsError, match=r"add --set network\.rcu=false$"):
        load_settings(None, [f"network.backbone={name}", OWN_UNITS_OFF[0]])
    peer = load_settings(None, [f"network.backbone={name}", *OWN_UNITS_OFF]).network
    assert peer.is_peer
    assert not peer.has_coarse_heads


def test_our_networks_have_coarse_heads_unless_told_otherwise_and_peers_the_other_way_round() -> None:
    assert load_settings().network.has_coarse_heads
    assert load_settings(None, OWN_UNITS_OFF).network.has_coarse_heads
    assert not load_settings(None, ["network.deep_supervision=false"]).network.has_coarse_heads
    peer = ["network.backbone=dynunet", *OWN_UNITS_OFF]
    assert load_settings(None, [*peer, "network.deep_supervision=true"]).network.has_coarse_heads


@pytest.mark.parametrize(
    ("name", "pair", "words"),
    [
        ("basic-unet", "network.features=[8,8,8]", r"five features, found \[8, 8, 8\]"),
        ("basic-unet-plus-plus", "network.features=[8,8,8,8,8,8]", "has five levels"),
        ("dynunet", "network.features=[8,8]", "at least three levels"),
        ("segresnet", "network.features=[12,16]", "multiple of 8, found 12"),
        ("swin-unetr", "network.features=[16,16]", "multiple of 12, found 16"),
        ("unetr", "network.deep_supervision=true", "has one head"),
        ("dynunet", "network.residual_input=concat", "takes no residual maps"),
    ],
)
def test_a_peer_takes_the_widths_it_can(name: str, pair: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"network: backbone {name}.*{words}"):
        load_settings(None, [f"network.backbone={name}", *OWN_UNITS_OFF, pair])


def test_maps_go_in_one_way_or_both() -> None:
    with pytest.raises(SettingsError, match=r"in the place of an RCU; add --set network\.rcu=false$"):
        load_settings(None, ["network.residual_input=concat"])
    with pytest.raises(SettingsError, match=r"both needs the RCU; use concat"):
        load_settings(None, ["network.rcu=false", "network.residual_input=both"])
    ways = {("true", "rcu"): True, ("false", "rcu"): False, ("false", "concat"): True, ("true", "both"): True}
    for (rcu, way), used in ways.items():
        found = load_settings(None, [f"network.rcu={rcu}", f"network.residual_input={way}"])
        assert found.network.uses_residual is used


def test_all_misfits_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"seed: .*; training\.steps: "):
        load_settings(None, ["seed=x", "training.steps=y"])


@pytest.mark.parametrize("ratio", [0.5, 2 / 3, 0.75, 0.8, 0.9])
@pytest.mark.parametrize("part", ["mae", "residual"])
def test_mask_ratios_with_complementary_sets_are_taken(part: str, ratio: float) -> None:
    assert getattr(load_settings(None, [f"{part}.ratios=[{ratio!r}]"]), part).ratios == (ratio,)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.6, 0.7, 1.0, -0.5, 1.5])
@pytest.mark.parametrize("part", ["mae", "residual"])
def test_other_mask_ratios_are_refused(part: str, ratio: float) -> None:
    with pytest.raises(SettingsError, match=f"{part}: .*mask ratio {ratio} must be 1 - 1/k"):
        load_settings(None, [f"{part}.ratios=[0.5, {ratio}]"])


def test_no_mask_ratio_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one mask ratio"):
        load_settings(None, ["mae.ratios=[]"])


def test_units_stand_on_decoder_levels_that_exist() -> None:
    assert load_settings(None, ["network.features=[4,8,16]", "network.rcu_levels=[0,1]"]).network.rcu_levels == (0, 1)
    with pytest.raises(SettingsError, match=r"rcu_levels \[2\]: decoder levels go from 0 to 1"):
        load_settings(None, ["network.features=[4,8,16]", "network.rcu_levels=[0,2]"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- seed\n- 3\n", "expected a mapping of settings, found a list"),
        ("seed\n", "expected a mapping of settings, found a str"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"mine\.yaml: {words}"):
        load_settings(path)


def test_a_file_that_comes_with_the_package_is_named_without_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_settings("stroke-2mm")
    assert shipped.preprocess.spacing_mm == (2.0, 2.0)
    assert load_settings(Path("stroke-2mm"), ["seed=3"]) == shipped.model_copy(update={"seed": 3})
    (tmp_path / "stroke-2mm").write_text("seed: 5", encoding="utf-8")  # a file of the user's comes first
    assert load_settings("stroke-2mm") == Settings(seed=5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("strokes", r"--config strokes: no such file, and none that comes with grcsf \(calcium, .*stroke-2mm\)"),
        ("../calcium", r"calcium: cannot be read"),
        ("calcium.yaml", r"calcium\.yaml: cannot be read"),
    ],
)
def test_a_name_of_no_file_is_refused(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=words):
        load_settings(name)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read \(No such file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"seed: 1 # caf\xe9\n")
    with pytest.raises(SettingsError, match=r"latin\.yaml: not valid YAML"):
        load_settings(tmp_path / "latin.yaml")


@pytest.mark.parametrize("pair", ["training.steps", "--seed 3", ""])
def test_a_pair_needs_an_equals_sign(pair: str) -> None:
    with pytest.raises(SettingsError, match=r"expected KEY=VALUE, for example --set training\.steps=500"):
        load_settings(None, [pair])


def test_a_pair_whose_value_is_no_yaml_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"--set network\.features: '\[1, 2' is not a YAML value"):
        load_settings(None, ["network.features=[1, 2"])


def test_a_number_can_be_followed_by_a_deeper_key() -> None:
    assert load_settings(None, ["training=5", "training.steps=6"]).training.steps == 6
