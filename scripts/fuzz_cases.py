"""Command lines, half of them nonsense, and damages to do before them, for `fuzz.py`."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from run_damage import DAMAGES

COMMANDS = ("train", "evaluate", "compare", "sample")


@dataclass(frozen=True)
class Case:
    """A command line, and what happens to the runs before; RUN and STOPPED stand for their folders."""

    command: tuple[str, ...]
    damages: tuple[tuple[str, int], ...]
    seed: int


def words(text: str) -> st.SearchStrategy[str]:
    """One of the words of a text, a dot for the empty one."""
    return st.sampled_from(["" if word == "·" else word for word in text.split()])


TEXT = st.text(st.characters(exclude_characters="\0"), max_size=12)
VALUES = TEXT | words(
    "null true -1 0 1 2 1.5 1e30 1e-400 nan inf abc '' [] {} [1,2] {a:1} ${seed} ${nothing} ${oc.env:HOME} "
    "1,2 ( ' range(1,3) glob(*) ../x x/y <b> 9999999999999999999999"
)

# --- train ------------------------------------------------------------------------------------------

KEYS = words(
    "seed device precision deterministic threads force output_root train train.steps train.epochs "
    "train.images train.batch_size train.log_every train.sample_every train.checkpoint_every eval "
    "eval.enabled eval.every eval.num_samples eval.extractor eval.is_splits eval.kid_subset_size "
    "eval.pr_k eval.reference_split loss loss.n_critic loss.critic_norm loss.optimizer loss.optimizer.lr "
    "loss.optimizer._target_ loss._target_ loss.g_lr model model.name model.z_dim "
    "model.generator._target_ model.generator.channels dataset dataset.name dataset.image_size "
    "dataset.num_train dataset.root dataset.source nothing hydra.run.dir hydra.job.name hydra.sweep.dir "
    "hydra hydra.searchpath experiment"
)
OVERRIDE = st.one_of(
    st.builds("{}{}={}".format, words("· · · + ++ ~"), KEYS, VALUES), st.builds("~{}".format, KEYS), TEXT
)
TRAIN_FLAG = words(
    "-m --multirun --cfg --cfg=job --resolve --info --info=all --package=x --run --help --hydra-help "
    "--version --config-name=x --config-dir=nowhere --config-dir=pictures --config-path=. -c "
    "--shell-completion -x"
)

# --- the others -------------------------------------------------------------------------------------

PLACE = words("outputs outputs/digits RUN STOPPED notes.txt report pictures nowhere · /dev/null .")
OUT = words("new new/er report notes.txt pictures mine.png outputs RUN ·")
COMPARE_FLAG = st.one_of(
    st.builds("--by={}".format, words("fid kid seconds loss steps nothing ·") | TEXT),
    st.builds("--where={}".format, words("loss=bce seed=0,1 status=completed a = seed=") | TEXT),
    st.builds("--at={}".format, words("images=16 steps=2 seconds=1e9 steps=nan steps x=1") | TEXT),
    st.builds("--baseline={}".format, words("bce loss=bce mlp") | TEXT),
    st.builds("--format={}".format, words("table markdown csv latex json html pdf")),
    st.builds("--extractor={}".format, words("judge all inception") | TEXT),
    st.builds("--out={}".format, OUT),
    words("--test --unpaired --published --weights=best --stat=mean --split=train --nothing -h"),
)
SAMPLE_FLAG = st.one_of(
    st.builds("--count={}".format, words("1 5 0 -1 x 1e3")),
    st.builds("--seed={}".format, words("0 7 -1 9223372036854775808 18446744073709551616 x")),
    st.builds("--class={}".format, words("0 10 -1")),
    st.builds("--format={}".format, words("grid npz png-folder gif")),
    st.builds("--layout={}".format, words("plain classes fixed-z")),
    st.builds("--device={}".format, words("cpu cuda:99 nothing ·")),
    st.builds("--out={}".format, OUT),
    words("--weights=best --trust --nothing --help"),
)
EVALUATE_KEYS = words("num_samples per_class seed batch_size pr_k nothing extractor")
EVALUATE_FLAG = st.one_of(
    st.builds("eval.{}={}".format, EVALUATE_KEYS, VALUES),
    words("--weights=last --weights=best --floors=nothing --nothing device=cpu threads=0 seed=3 --help"),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A command line and damages; one of both is always there.

    A damaged run mostly meets a plain command: a bad flag would be refused before the run is read.
    """
    name = draw(words("compare sample evaluate " * 3 + "train train other"))
    places = st.tuples(words("RUN STOPPED"), st.integers(0, len(DAMAGES) - 1))
    damages = draw(st.lists(places, max_size=4))
    plain = bool(damages) and draw(st.integers(0, 3)) > 0
    place = damages[0][0] if plain else ""

    def flags(flag: st.SearchStrategy[str]) -> list[str]:
        return [] if plain else draw(st.lists(flag, max_size=3))

    if name == "train":
        command = [name, place or draw(words("RUN STOPPED")), *flags(OVERRIDE | TRAIN_FLAG)]
    elif name == "compare":
        command = [name, *(["outputs"] if plain else draw(st.lists(PLACE, max_size=2))), *flags(COMPARE_FLAG)]
    elif name == "sample":
        command = [name, place or draw(PLACE), *flags(SAMPLE_FLAG)]
    elif name == "evaluate":
        command = [name, place or draw(PLACE), *flags(EVALUATE_FLAG)]
    else:
        command = [draw(TEXT), *draw(st.lists(TEXT, max_size=2))]
    return Case(tuple(command), tuple(damages), draw(st.integers(0, 2**32 - 1)))
