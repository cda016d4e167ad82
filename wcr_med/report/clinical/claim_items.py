"""CLAIM 2024, item by item. Numbers are the guideline's; names are abbreviated, in our own words."""

from wcr_med.report.clinical.guideline_items import GroupSpec, GuidelineSpec, ItemSpec

_CONFIGURATION = "The whole configuration is given."

CLAIM_2024 = GuidelineSpec(
    name="CLAIM 2024",
    citation="Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging"
    " (CLAIM): 2024 Update. Radiology: Artificial Intelligence 2024;6(4):e240300",
    url="https://doi.org/10.1148/ryai.240300",
    n_items=44,
    groups=(
        GroupSpec(
            heading="Title and abstract",
            items=(
                ItemSpec(
                    number="1",
                    name="Title names the AI method",
                    sections=("summary",),
                    answer="The title names a pruned network.",
                ),
                ItemSpec(
                    number="2",
                    name="Summary of design, methods, results and conclusions",
                    sections=("summary",),
                    answer="Design, patients, result, verdict and limits stand on the first screen.",
                ),
            ),
        ),
        GroupSpec(
            heading="Introduction",
            items=(
                ItemSpec(
                    number="3",
                    name="Background, intended use and role",
                    sections=("intended",),
                    fields=("intended_use",),
                    partly=True,
                ),
                ItemSpec(
                    number="4",
                    name="Aims and hypotheses",
                    sections=("summary", "pruning"),
                    answer="Whether the pruned network is non-inferior to the dense one, at a margin."
                    " The summary says whether and when it was set before training.",
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: study design",
            items=(
                ItemSpec(
                    number="5",
                    name="Prospective or retrospective",
                    sections=("data",),
                    fields=("eligibility", "data_dates"),
                    partly=True,
                ),
                ItemSpec(
                    number="6",
                    name="Goal of the study",
                    sections=("summary",),
                    answer="What pruning costs in segmentation, and whether that is acceptable.",
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: data",
            items=(
                ItemSpec(
                    number="7",
                    name="Data sources",
                    sections=("data",),
                    answer="Layout and number of patients are given.",
                    fields=("data_source",),
                ),
                ItemSpec(
                    number="8", name="Inclusion and exclusion criteria", sections=("data",), fields=("eligibility",)
                ),
                ItemSpec(
                    number="9",
                    name="Pre-processing",
                    sections=("intended", "provenance"),
                    answer=f"Grid and normalisation. {_CONFIGURATION}",
                ),
                ItemSpec(
                    number="10",
                    name="Selection of subsets",
                    sections=("partitions",),
                    answer="Every patient of the data set is in a partition; slices drawn for training: see training.",
                ),
                ItemSpec(
                    number="11",
                    name="De-identification",
                    unknown="How images were de-identified cannot be seen in them.",
                ),
                ItemSpec(
                    number="12",
                    name="Handling of missing data",
                    sections=("data", "subgroups"),
                    answer="Missing sequences and codes are counted; patients with a missing sequence are a subgroup.",
                ),
                ItemSpec(number="13", name="Image acquisition", sections=("data",), fields=("scanners",)),
            ),
        ),
        GroupSpec(
            heading="Methods: reference standard",
            items=(
                ItemSpec(
                    number="14",
                    name="Definition of the reference standard",
                    sections=("data",),
                    fields=("reference_standard",),
                ),
                ItemSpec(
                    number="15",
                    name="Why this reference standard",
                    unknown="The reasons for it are not among the fields of the model card.",
                ),
                ItemSpec(number="16", name="Source of annotations", sections=("data",), fields=("reference_standard",)),
                ItemSpec(
                    number="17",
                    name="Annotation of the test set",
                    sections=("data",),
                    fields=("reference_standard",),
                    partly=True,
                ),
                ItemSpec(
                    number="18",
                    name="Variability between and within annotators",
                    sections=("data",),
                    fields=("annotator_agreement",),
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: partitions and test data",
            items=(
                ItemSpec(
                    number="19",
                    name="Assignment of data to partitions",
                    sections=("partitions",),
                    answer="Design, counts and hash of the split.",
                ),
                ItemSpec(
                    number="20",
                    name="Level at which partitions are disjoint",
                    sections=("partitions",),
                    answer="The patient; checked.",
                ),
                ItemSpec(number="21", name="Intended sample size", sections=("provenance",), fields=("sample_size",)),
            ),
        ),
        GroupSpec(
            heading="Methods: model and training",
            items=(
                ItemSpec(
                    number="22",
                    name="Description of the model",
                    sections=("model", "provenance"),
                    answer=f"Architecture and numbers of weights. {_CONFIGURATION}",
                ),
                ItemSpec(
                    number="23",
                    name="Software",
                    sections=("provenance",),
                    answer="Packages with versions, and the commit where it is known.",
                ),
                ItemSpec(
                    number="24",
                    name="Initial values of parameters",
                    sections=("provenance",),
                    answer="Seed and source of the weights are in the configuration.",
                ),
                ItemSpec(
                    number="25",
                    name="Training",
                    sections=("model", "provenance"),
                    answer=f"Loss, optimizer, regularizer, epochs. {_CONFIGURATION}",
                ),
                ItemSpec(
                    number="26",
                    name="Selection of the final model",
                    sections=("partitions", "provenance"),
                    answer="The epoch was chosen on validation patients, and so was the threshold unless the"
                    " configuration sets it; the pruned network of the verdict is that of pruning.sparsity.",
                ),
                ItemSpec(
                    number="27",
                    name="Ensembles",
                    not_applicable="Each prediction comes from one network; none is averaged.",
                ),
            ),
        ),
        GroupSpec(
            heading="Methods: evaluation",
            items=(
                ItemSpec(
                    number="28",
                    name="Metrics",
                    sections=("definitions",),
                    answer="Every figure is defined.",
                ),
                ItemSpec(
                    number="29",
                    name="Significance and uncertainty",
                    sections=("definitions", "pruning"),
                    answer="Intervals over patients, bounds of the verdict, paired tests, adjustment of many p.",
                ),
                ItemSpec(
                    number="30",
                    name="Robustness or sensitivity",
                    sections=("robustness", "calibration"),
                    answer="Disturbed images at graded strengths; sensitivity to the threshold.",
                    need="robustness",
                ),
                ItemSpec(number="31", name="Explainability", not_applicable="No method of explanation was used."),
                ItemSpec(
                    number="32",
                    name="Evaluation on internal data",
                    sections=("performance",),
                    answer="Patients of the same data set that the network never saw.",
                ),
                ItemSpec(
                    number="33",
                    name="Test on external data",
                    sections=("partitions", "performance"),
                    answer="Each institution was tested by a network that never saw it, within one data set.",
                    need="left-out institution",
                    partly=True,
                ),
                ItemSpec(
                    number="34", name="Registration of a trial", sections=("provenance",), fields=("registration",)
                ),
            ),
        ),
        GroupSpec(
            heading="Results",
            items=(
                ItemSpec(
                    number="35",
                    name="Numbers included and excluded",
                    sections=("partitions", "data"),
                    answer="Patients of every part are counted.",
                    fields=("eligibility",),
                ),
                ItemSpec(
                    number="36",
                    name="Demographic and clinical characteristics by partition",
                    sections=("partitions",),
                    answer="Institution, missing sequences and every column of data.csv, by part.",
                    need="clinical codes",
                ),
                ItemSpec(
                    number="37",
                    name="Performance with uncertainty",
                    sections=("performance", "subgroups", "pruning"),
                    answer="Every average with its interval, by network and by subgroup.",
                ),
                ItemSpec(
                    number="38",
                    name="Diagnostic performance and its precision",
                    sections=("performance",),
                    answer="Lesions found and false ones, with intervals.",
                ),
                ItemSpec(
                    number="39",
                    name="Analysis of failures",
                    sections=("gallery", "pruning"),
                    answer="Worst patients, missed and false lesions, outcomes that pruning changed, slice by slice.",
                ),
            ),
        ),
        GroupSpec(
            heading="Discussion and other information",
            items=(
                ItemSpec(
                    number="40",
                    name="Limitations",
                    sections=("limitations",),
                    answer="Those that follow from the facts of the run.",
                    fields=("limitations",),
                ),
                ItemSpec(
                    number="41",
                    name="Implications for practice",
                    sections=("intended",),
                    fields=("intended_use", "out_of_scope"),
                ),
                ItemSpec(
                    number="42",
                    name="Protocol or further technical details",
                    sections=("provenance",),
                    answer=_CONFIGURATION,
                    fields=("registration",),
                ),
                ItemSpec(
                    number="43",
                    name="Availability of software, model and data",
                    sections=("provenance", "data"),
                    fields=("licence", "data_licence"),
                ),
                ItemSpec(number="44", name="Funding", sections=("provenance",), fields=("funding",)),
            ),
        ),
    ),
)
