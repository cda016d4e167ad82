"""The model card of a run: what the user states, what the tool knows, and "not stated" for the rest."""

from wcr_med.report.analysis.document import Analysis
from wcr_med.report.clinical import facts
from wcr_med.report.clinical.card_document import (
    NOT_STATED,
    CardData,
    CardNetwork,
    CardSubgroup,
    Caveats,
    EthicalConsiderations,
    Factors,
    IntendedUse,
    Metrics,
    ModelCard,
    ModelDetails,
    QuantitativeAnalyses,
)
from wcr_med.report.clinical.inputs import ReportInputs
from wcr_med.report.clinical.limits import limitations

__all__ = ["ModelCard", "model_card"]

_NEVER = (
    "Diagnosis, treatment, triage or any other decision about a patient; images of another body region, sequence or"
    " preparation than those it was trained on."
)
_OUTPUT = "A mask of the lesion on the grid of the input images, and a probability for each voxel."


def model_card(inputs: ReportInputs, analysis: Analysis) -> ModelCard:
    """The card of the primary network (`pruning.sparsity`), beside the dense one that it came from.

    Texts that only the user can know come from the configuration's section card; null and blank ones read
    "not stated". Every number is the one of the analysis.
    """
    card = inputs.card
    return ModelCard(
        model_details=_details(inputs, analysis),
        intended_use=IntendedUse(
            use=_stated(card.intended_use),
            users=_stated(card.intended_users),
            population=_stated(card.population),
            out_of_scope=_stated(card.out_of_scope),
            never=_NEVER,
            input=facts.input_words(inputs),
            output=_OUTPUT,
        ),
        factors=Factors(
            groups={
                attribute.attribute: tuple(group.group for group in attribute.groups)
                for attribute in analysis.verdict.attributes
            },
            scanners=_stated(card.scanners),
            disturbances=tuple(dict.fromkeys(curve.disturbance for curve in analysis.robustness)),
        ),
        metrics=_metrics(analysis),
        evaluation_data=_data(inputs, analysis, parts=("test",)),
        training_data=_data(inputs, analysis, parts=("train", "validation")),
        quantitative_analyses=_analyses(analysis),
        ethical_considerations=EthicalConsiderations(
            approval=_stated(card.ethics),
            registration=_stated(card.registration),
            sample_size=_stated(card.sample_size),
            funding=_stated(card.funding),
            conflicts=_stated(card.conflicts),
        ),
        caveats=Caveats(
            known=limitations(inputs, analysis), stated=_stated(card.limitations), notes=tuple(inputs.notes)
        ),
    )


def _stated(value: str | None) -> str:
    return value.strip() if value and value.strip() else NOT_STATED


def _details(inputs: ReportInputs, analysis: Analysis) -> ModelDetails:
    card, made = inputs.card, inputs.provenance
    return ModelDetails(
        name=_stated(card.model_name),
        developers=_stated(card.developers),
        contact=_stated(card.contact),
        licence=_stated(card.licence),
        title=inputs.title,
        architecture=tuple(inputs.architecture),
        networks=tuple(
            CardNetwork(
                name=network.name,
                label=network.label,
                primary=network.name == analysis.primary,
                sparsity_prunable=network.sparsity_prunable,
                sparsity_all=network.sparsity_all,
                n_prunable=network.n_prunable,
                n_all=network.n_all,
                repair=network.repair,
                retrained_epochs=network.retrained_epochs,
            )
            for network in analysis.networks
        ),
        files=tuple(analysis.deployment.get(analysis.primary, ())),
        software=dict(made.get("versions", {})),
        commits={
            "training": _stated(inputs.commits.get("training")),
            "export": _stated(inputs.commits.get("export")),
            "report": _stated(made.get("commit")),
        },
        seed=made.get("seed"),
    )


def _metrics(analysis: Analysis) -> Metrics:
    statistics = analysis.statistics
    return Metrics(
        definitions=dict(analysis.definitions),
        thresholds={partition.name: dict(partition.thresholds) for partition in analysis.partitions},
        margin=statistics.margin,
        plan=statistics.plan,
        worse_by=statistics.worse_by,
        confidence=statistics.confidence,
        resamples=statistics.resamples,
    )


def _data(inputs: ReportInputs, analysis: Analysis, *, parts: tuple[str, ...]) -> CardData:
    card = inputs.card
    return CardData(
        images=inputs.source,
        phantom=inputs.phantom,
        source=_stated(card.data_source),
        licence=_stated(card.data_licence),
        dates=_stated(card.data_dates),
        eligibility=_stated(card.eligibility),
        reference_standard=_stated(card.reference_standard),
        annotator_agreement=_stated(card.annotator_agreement),
        preprocessing=facts.input_words(inputs),
        design=facts.design_words(inputs),
        partitions=analysis.partitions,
        demographics=tuple(entry for entry in analysis.demographics if entry.part in parts),
    )


def _analyses(analysis: Analysis) -> QuantitativeAnalyses:
    return QuantitativeAnalyses(
        n_patients=analysis.n_patients,
        scores={network.name: dict(network.scores) for network in analysis.networks},
        non_inferiority=analysis.verdict.paired,
        verdict=analysis.verdict.verdict,
        changes=analysis.verdict.metrics,
        subgroups=tuple(
            CardSubgroup(
                attribute=attribute.attribute,
                group=group.group,
                n_patients=group.n_patients,
                dice_patient=group.pruned,
                difference=group.difference,
                verdict=group.verdict,
            )
            for attribute in analysis.verdict.attributes
            for group in attribute.groups
        ),
        harmed=facts.harm_sentence(analysis),
        lesions=facts.lesions_found(analysis),
        detection=analysis.pruned.lesions,
        worst_disturbance=analysis.verdict.worst_disturbance,
    )
