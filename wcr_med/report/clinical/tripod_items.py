"""TRIPOD+AI, item by item. Numbers are the guideline's; names are abbreviated, in our own words.

The guideline is made for models that predict an outcome of a patient. Here the outcome is the lesion of the reference
mask, and the predictors are the images.
"""

from wcr_med.report.clinical.guideline_items import GroupSpec, GuidelineSpec, ItemSpec

_CONFIGURATION = "The whole configuration is given."
_NO_UPDATE = "The networks were scored as they were trained and pruned; none was updated after the evaluation."

TRIPOD_AI = GuidelineSpec(
    name="TRIPOD+AI 2024",
    citation="Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical"
    " prediction models that use regression or machine learning methods. BMJ 2024;385:e078378",
    url="https://doi.org/10.1136/bmj-2023-078378",
    n_items=27,
    groups=(
        GroupSpec(
            heading="Title, abstract, introduction",
            items=(
                ItemSpec(
                    number="1",
                    name="Title",
                    sections=("summary",),
                    answer="The title names the evaluation of a pruned network and its outcome.",
                ),
                ItemSpec(
                    number="2",
                    name="Abstract",
                    sections=("summary",),
                    answer="The first screen, not in the guideline's own form for abstracts.",
                    partly=True,
                ),
                ItemSpec(
                    number="3a",
                    name="Healthcare context and rationale",
                    sections=("intended",),
                    fields=("intended_use",),
                    partly=True,
                ),
                ItemSpec(
                    number="3b",
                    name="Target population, purpose, users",
                    sections=("intended",),
                    fields=("population", "intended_use", "intended_users"),
                ),
                ItemSpec(
                    number="3c",
                    name="Known health inequalities",
                    unknown="They are not among the fields of the model card.",
                ),
                ItemSpec(
                    number="4",
                    name="Objectives",
                    sections=("summary", "pruning"),
                    answer="Development and evaluation: is the pruned network non-inferior to the dense one?",
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: data, outcome, predictors",
            items=(
                ItemSpec(
                    number="5a",
                    name="Sources of data",
                    sections=("data", "partitions"),
                    answer="Layout, counts and parts.",
                    fields=("data_source",),
                ),
                ItemSpec(number="5b", name="Dates of the data", sections=("data",), fields=("data_dates",)),
                ItemSpec(
                    number="6a",
                    name="Setting and centres",
                    sections=("data",),
                    answer="Patients by institution, as far as names tell.",
                    fields=("data_source",),
                ),
                ItemSpec(number="6b", name="Eligibility", sections=("data",), fields=("eligibility",)),
                ItemSpec(
                    number="6c",
                    name="Treatments",
                    unknown="Treatments are neither in the images nor among the fields of the model card.",
                ),
                ItemSpec(
                    number="7",
                    name="Preparation of data",
                    sections=("intended", "data", "provenance"),
                    answer=f"The same for every patient. {_CONFIGURATION}",
                ),
                ItemSpec(
                    number="8a",
                    name="Outcome and how it was assessed",
                    sections=("data", "definitions"),
                    answer="The lesion of the reference mask.",
                    fields=("reference_standard",),
                ),
                ItemSpec(
                    number="8b", name="Assessors of the outcome", sections=("data",), fields=("reference_standard",)
                ),
                ItemSpec(
                    number="8c",
                    name="Blinding of the assessors",
                    sections=("data",),
                    fields=("reference_standard",),
                    partly=True,
                ),
                ItemSpec(
                    number="9a",
                    name="Choice of predictors",
                    sections=("intended",),
                    answer="The image channels that the configuration names; none was selected.",
                ),
                ItemSpec(
                    number="9b",
                    name="Definition of predictors",
                    sections=("intended", "data"),
                    answer="The input is described.",
                    fields=("scanners",),
                ),
                ItemSpec(
                    number="9c",
                    name="Assessors of predictors",
                    not_applicable="Images are read by the network; nobody assesses them.",
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: analysis",
            items=(
                ItemSpec(number="10", name="Sample size", sections=("provenance",), fields=("sample_size",)),
                ItemSpec(
                    number="11",
                    name="Missing data",
                    sections=("data", "subgroups"),
                    answer="Missing sequences and codes are counted; nobody is left out for them.",
                ),
                ItemSpec(
                    number="12a",
                    name="Use and partition of the data",
                    sections=("partitions",),
                    answer="By patient; counts and hash.",
                ),
                ItemSpec(
                    number="12b",
                    name="Handling of predictors",
                    sections=("intended", "provenance"),
                    answer="Intensities are normalised for each patient.",
                ),
                ItemSpec(
                    number="12c",
                    name="Type and building of the model",
                    sections=("model", "provenance"),
                    answer=_CONFIGURATION,
                ),
                ItemSpec(
                    number="12d",
                    name="Heterogeneity across clusters",
                    sections=("subgroups",),
                    answer="Scores by institution, and a test of what pruning did to each.",
                    need="several institutions",
                ),
                ItemSpec(
                    number="12e",
                    name="Measures and plots of performance",
                    sections=("definitions", "calibration", "pruning"),
                    answer="Overlap, distance, detection, calibration; the comparison with the dense network.",
                ),
                ItemSpec(number="12f", name="Model updating", not_applicable=_NO_UPDATE),
                ItemSpec(
                    number="12g",
                    name="How predictions were calculated",
                    sections=("model", "provenance"),
                    answer="From stored probabilities of each network at its own threshold.",
                ),
                ItemSpec(
                    number="13",
                    name="Class imbalance",
                    sections=("provenance",),
                    answer="Slices with and without tumour are drawn as training.other_per_tumour says.",
                ),
                ItemSpec(
                    number="14",
                    name="Fairness",
                    sections=("subgroups",),
                    answer="Whether pruning harmed a subgroup more is tested; training did nothing about it.",
                    partly=True,
                ),
                ItemSpec(
                    number="15",
                    name="Output and threshold",
                    sections=("intended", "partitions", "calibration"),
                    answer="A probability for each voxel, and a mask at a threshold chosen on validation patients or"
                    " set in the configuration.",
                ),
                ItemSpec(
                    number="16",
                    name="Differences of training and evaluation data",
                    sections=("partitions",),
                    answer="Characteristics of every part, side by side.",
                ),
                ItemSpec(number="17", name="Ethical approval", sections=("data",), fields=("ethics",)),
            ),
        ),
        GroupSpec(
            heading="Open science, patient and public involvement",
            items=(
                ItemSpec(number="18a", name="Funding", sections=("provenance",), fields=("funding",)),
                ItemSpec(number="18b", name="Conflicts of interest", sections=("provenance",), fields=("conflicts",)),
                ItemSpec(number="18c", name="Protocol", sections=("provenance",), fields=("registration",)),
                ItemSpec(number="18d", name="Registration", sections=("provenance",), fields=("registration",)),
                ItemSpec(
                    number="18e",
                    name="Sharing of data",
                    sections=("data",),
                    fields=("data_source", "data_licence"),
                ),
                ItemSpec(
                    number="18f",
                    name="Sharing of code",
                    sections=("provenance",),
                    answer="Package versions, commit where known, and the command.",
                    partly=True,
                ),
                ItemSpec(
                    number="19",
                    name="Patient and public involvement",
                    unknown="It is not among the fields of the model card.",
                ),
            ),
        ),
        GroupSpec(
            heading="Results",
            items=(
                ItemSpec(
                    number="20a",
                    name="Flow of participants",
                    sections=("partitions", "performance"),
                    answer="Counts by part, and test patients with and without a lesion.",
                ),
                ItemSpec(
                    number="20b",
                    name="Characteristics of participants",
                    sections=("data",),
                    answer="Institution, missing sequences and every column of data.csv.",
                    need="clinical codes",
                ),
                ItemSpec(
                    number="20c",
                    name="Comparison with the training data",
                    sections=("partitions",),
                    answer="The same characteristics for every part.",
                ),
                ItemSpec(
                    number="21",
                    name="Numbers in each analysis",
                    sections=("partitions", "performance", "subgroups"),
                    answer="Every figure is printed with its number of patients.",
                ),
                ItemSpec(
                    number="22",
                    name="Specification of the model",
                    sections=("deployment", "model"),
                    answer="The exported file, its parity with PyTorch and its size.",
                    fields=("licence",),
                    need="deployment",
                ),
                ItemSpec(
                    number="23a",
                    name="Performance with intervals, subgroups included",
                    sections=("performance", "subgroups", "pruning"),
                    answer="Every average with its interval, by network and by subgroup.",
                ),
                ItemSpec(
                    number="23b",
                    name="Heterogeneity of performance",
                    sections=("subgroups",),
                    answer="Scores by institution.",
                    need="several institutions",
                ),
                ItemSpec(number="24", name="Results of model updating", not_applicable=_NO_UPDATE),
            ),
        ),
        GroupSpec(
            heading="Discussion",
            items=(
                ItemSpec(
                    number="25",
                    name="Interpretation",
                    sections=("summary",),
                    answer="The verdict, and whether a subgroup was harmed more; previous studies are not discussed.",
                    partly=True,
                ),
                ItemSpec(
                    number="26",
                    name="Limitations",
                    sections=("limitations",),
                    answer="Those that follow from the facts of the run.",
                    fields=("limitations",),
                ),
                ItemSpec(
                    number="27a",
                    name="Poor or missing input",
                    sections=("robustness", "subgroups"),
                    answer="Scores with disturbed images and missing sequences; what to do about them is not said.",
                    need="robustness",
                    partly=True,
                ),
                ItemSpec(
                    number="27b",
                    name="What users must do and know",
                    sections=("intended",),
                    fields=("intended_users",),
                ),
                ItemSpec(
                    number="27c",
                    name="Next steps of research",
                    sections=("limitations",),
                    fields=("limitations",),
                    partly=True,
                ),
            ),
        ),
    ),
)
