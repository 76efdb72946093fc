"""Rendered plates: texts, designs and repeatability."""

import importlib
import re
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is needed to draw plates")
pytest.importorskip("tomllib", reason="rendering plates needs Python 3.11")
pytest.importorskip("PIL", reason="the training group is not installed (pip install pillow)")


def module(name: str) -> ModuleType:
    return importlib.import_module(f"engines.training.{name}")


def design(name: str) -> object:
    return next(d for d in module("plates").load_designs() if d.id == name)


def test_there_are_at_least_sixty_designs_with_unique_ids() -> None:
    designs = module("plates").load_designs()
    assert len({d.id for d in designs}) == len(designs) >= 60
    assert sum(d.region.startswith("US-") for d in designs) >= 20


@pytest.mark.filterwarnings("ignore:font .* not found")
def test_the_same_generator_state_draws_the_same_plate() -> None:
    plates = module("plates")
    first = plates.render_plate(np.random.default_rng(3), design("de"))
    again = plates.render_plate(np.random.default_rng(3), design("de"))
    assert first.text == again.text
    assert np.array_equal(first.image, again.image)


@pytest.mark.filterwarnings("ignore:font .* not found")
def test_every_design_draws_a_readable_contrast_and_a_plain_text() -> None:
    plates = module("plates")
    rng = np.random.default_rng(11)
    for each in plates.load_designs():
        plate = plates.render_plate(rng, each)
        assert re.fullmatch(r"[A-Z0-9]{1,12}", plate.text), each.id
        assert plate.image.dtype == np.uint8
        assert plate.image.shape[2] == 4
        assert plate.image[..., :3].std() > 8, each.id


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("es", r"\d{4}[BCDFGHJKLMNPRSTVWXYZ]{3}"),
        ("fr", r"[A-HJ-NP-TV-Z]{2}\d{3}[A-HJ-NP-TV-Z]{2}"),
        ("br-mercosur", r"[A-Z]{3}\d[A-Z]\d\d"),
        ("vn-two", r"\d\d(LD|[A-Z]\d?)\d{4,5}"),
        ("cn", r"[A-HJ-NP-Z][A-Z0-9]{5,6}"),
    ],
)
def test_texts_follow_the_national_format(name: str, pattern: str) -> None:
    designs = module("plate_designs")
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert re.fullmatch(pattern, designs.plain(designs.expand(rng, design(name))))


def test_a_design_with_an_unknown_key_is_refused_by_name() -> None:
    designs = module("plate_designs")
    data = {"design": [{"id": "x", "region": "X", "formats": ["#"], "colour": "red"}]}
    with pytest.raises(ValueError, match="x has unknown keys \\['colour'\\]"):
        designs.parse_designs(data, "x.toml")


BRITISH = re.compile(
    r"[A-Z]{2}\d\d[A-Z]{3}"  # current
    r"|[A-Z]\d{1,3}[A-Z]{3}|[A-Z]{3}\d{1,3}[A-Z]"  # prefix, suffix
    r"|[A-Z]{1,3}[1-9]\d{0,3}|[1-9]\d{0,3}[A-Z]{1,3}"  # dateless, either way round
    r"|[A-Z]{2,3}\d{2,4}"  # Northern Irish
)


def test_a_british_text_follows_a_real_format_since_its_one_and_i_are_one_glyph() -> None:
    designs = module("plate_designs")
    rng = np.random.default_rng(4)
    seen = set()
    for each in designs.load_designs():
        if each.region != "GB":
            continue
        for _ in range(400):
            text, bound = designs.draw_text(rng, each)
            assert bound, each.id
            assert BRITISH.fullmatch(designs.plain(text)), text
            seen.add(len(designs.plain(text)))
    assert {2, 3, 7} <= seen  # F1 as well as AB12ABC


def test_a_free_text_is_never_set_with_twin_glyphs_unless_it_holds_only_one_of_each() -> None:
    fonts = module("fonts")
    rng = np.random.default_rng(5)
    for family in ("uk", "us", "any"):
        for _ in range(200):
            assert not fonts.twins(fonts.choose_face(rng, family, distinct=True))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("B00K1NG", "BOOKING"),
        ("O12I45", "012145"),
        ("ALPHA9O", "ALPHA90"),
        ("T0OLAZY", "TOOLAZY"),
        ("4OOVOLT", "4OOVOLT"),  # between a digit and a letter: as it was
        ("O0", "O0"),
    ],
)
def test_where_glyphs_are_alike_a_text_is_what_its_neighbours_make_of_it(
    text: str, meant: str
) -> None:
    assert module("plate_words").without_twins(text) == meant


def test_spelt_plates_fit_their_length_and_hardly_put_a_zero_among_letters() -> None:
    words = module("plate_words")
    rng = np.random.default_rng(8)
    texts = [words.vanity_text(rng, 2, 7) for _ in range(2000)]
    assert all(re.fullmatch(r"[A-Z0-9]{2,7}", text) for text in texts)
    letters_around_o = sum(bool(re.search(r"[A-Z]O+[A-Z]", text)) for text in texts)
    letters_around_zero = sum(bool(re.search(r"[A-Z]0+[A-Z]", text)) for text in texts)
    assert letters_around_o > 8 * letters_around_zero > 0


def test_the_british_alphabet_draws_one_and_i_alike_and_the_american_gives_i_its_bars() -> None:
    fonts = module("fonts")
    rng = np.random.default_rng(6)
    british = fonts.FaceSpec(
        file="strokes", stretch=(0.5, 0.6), weight=(0.15, 0.15), glyphs=(("1", (1,)), ("I", (0,)))
    )
    variants = fonts._variants(rng, british, slash=False, distinct=False)
    assert dict(variants)["1"] == fonts.PLAIN_ONE
    assert dict(variants)["I"] == fonts.PLAIN_I
    barred = [spec for spec in fonts.families()["us"] if spec.serif_i > 0.5 or spec.glyphs]
    assert len(barred) == len(fonts.families()["us"])


def test_an_i_with_bars_is_wide_at_its_ends_and_narrow_in_its_middle() -> None:
    stroke_font = module("stroke_font")
    barred = stroke_font.stroke_glyph("I", 1, 50, 12, 30, True)
    top = int(stroke_font.CAP_PX * (stroke_font.PAD_TOP + 0.05))
    middle = int(stroke_font.CAP_PX * (stroke_font.PAD_TOP + 0.5))
    assert (barred[top] > 0.5).sum() > 2 * (barred[middle] > 0.5).sum() > 0


@pytest.mark.filterwarnings("ignore:font .* not found")
def test_an_indian_number_beside_two_short_lines_is_read_after_them() -> None:
    plate = module("plates").render_plate(np.random.default_rng(7), design("in-beside"))
    assert re.fullmatch(r"[A-Z]{2}\d\d[A-Z]{1,3}\d{4}", plate.text)
    assert plate.lines == 2


def test_every_seal_that_a_design_names_can_be_drawn_and_marks_the_plate() -> None:
    marks, designs = module("plate_marks"), module("plate_designs")
    kinds = {kind for each in designs.load_designs() for kind in each.seal.split()}
    assert {"sticker", "oblate", "arrow", "outline", "fruit", "pair", "single"} <= kinds
    rng = np.random.default_rng(8)
    for kind in sorted(kinds):
        image = np.full((100, 200, 3), 128, np.float32)
        marks.paint_seal(rng, image, 100.0, 50.0, 60.0, kind)
        assert (image != 128).any(), kind


def test_a_frame_hides_no_more_than_a_sliver_of_the_characters() -> None:
    marks = module("plate_marks")
    for seed in range(150):
        plate = np.zeros((100, 300, 4), np.float32)
        plate[30:70, 60:240, :3] = 1000.0  # the text
        framed = marks.add_frame(np.random.default_rng(seed), plate, (0.3, 0.7), (0.2, 0.8))
        assert (framed[..., 0] == 1000.0).sum() >= 0.92 * 40 * 180
