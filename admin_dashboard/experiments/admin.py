"""The admin pages of experiments and their results."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from admin_dashboard.experiments.checks import check_models
from admin_dashboard.experiments.presentation import daily_series
from admin_dashboard.experiments.results import METRICS, MetricValue, Results, VariantResult, results_of
from admin_dashboard.experiments.statistics import Interval
from admin_dashboard.experiments.views import csv_response
from aichat.core.admin.base import link
from aichat.core.admin.charts import Chart, Series
from aichat.core.admin.lines_field import LinesField
from aichat.core.admin.row_fields import Member, RowsField
from aichat.flags.admin import AUDIENCE, TargetedAdmin, TargetedForm
from aichat.flags.models import Experiment

CHARTS = {
    "requests": ("Requests", ""),
    **{name: (m.label, m.unit) for name, m in METRICS.items() if name != "feedback"},
}


VARIANT = [
    Member("name", help="The first variant is the control."),
    Member("weight", "number", "Per cent; together 100."),
    Member("model", help="Empty: the one that was asked for."),
    Member("system", "long", "System prompt; empty: the request's."),
    Member("temperature", "number", "Empty: the request's."),
    Member("max_tokens", "number", "Empty: the request's."),
]


class ExperimentForm(TargetedForm):
    variants = RowsField(
        VARIANT,
        help_text="The first is the control; the weights are percentages and make 100. What is empty is as the request says."
        " Saved rows make room for more.",
    )
    requested_models = LinesField(
        help_text="Model names, one on each line: only requests that asked for one of them. None: all of them; or only"
        " <code>auto</code>, when a variant sets the model.",
    )

    class Meta:
        model = Experiment
        fields = "__all__"

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "variants" in self.changed_data or cleaned.get("status") == Experiment.Status.RUNNING:
            try:
                check_models(cleaned.get("variants"), cleaned.get("requested_models", ()))
            except ValidationError as error:
                self.add_error(None, error)
        return cleaned


@admin.register(Experiment)
class ExperimentAdmin(TargetedAdmin):
    """Experiments: variants of chat generation, compared on the users who were assigned to them."""

    form = ExperimentForm
    list_display = ["key", "state", "variant_names", "percentage", "winner", "started_at", "results_link"]
    list_filter = ["status"]
    readonly_fields = ["started_at", "ended_at"]
    fieldsets = [
        (None, {"fields": ["key", "description", "status", "winner", "started_at", "ended_at"]}),
        ("Variants", {"fields": ["variants", "requested_models", "unit", "sample_size"]}),
        AUDIENCE,
    ]
    actions_detail = ["show_results"]

    @display(
        description="Status", label={"running": "success", "frozen": "info", "draft": "warning", "stopped": "danger"}
    )
    def state(self, row: Experiment) -> str:
        return row.status

    @display(description="Variants")
    def variant_names(self, row: Experiment) -> str:
        return ", ".join(f"{variant['name']} {variant['weight']} %" for variant in row.variants)

    @display(description="Results")
    def results_link(self, row: Experiment) -> str:
        url = reverse("admin:flags_experiment_show_results", args=[row.pk])
        return link(url, "Results")

    def has_delete_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        return obj is not None and obj.status == Experiment.Status.DRAFT

    @action(description="Results", url_path="results", icon="experiment")
    def show_results(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            return redirect("admin:flags_experiment_changelist")
        found = results_of(row)
        if request.GET.get("format") == "csv":
            return csv_response(found)
        metric = request.GET.get("chart", "requests")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Results of {row.key}",
            "opts": self.opts,
            "experiment": row,
            "found": found,
            "metrics": [(m.label, m.unit, [cell(name, v) for v in found.variants]) for name, m in METRICS.items()],
            "unit": row.Unit(row.unit).name.capitalize(),
            "chart": chart(found, metric if metric in CHARTS else "requests"),
            "charts": [(name, label, name == metric) for name, (label, _) in CHARTS.items()],
            "confidence": f"{found.confidence:.1%}".replace(".0", ""),
        }
        return TemplateResponse(request, "admin_dashboard/experiment_results.html", context)


def cell(name: str, variant: VariantResult) -> dict[str, Any]:
    """Return a variant's metric as text for the results table."""
    found = variant.metrics.get(name, MetricValue())
    return {
        "value": figure(name, found.value),
        "difference": difference(name, found),
        "significant": found.is_significant,
    }


def figure(name: str, value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    sign = "+" if signed else ""
    if METRICS[name].is_share:
        return f"{value * 100:{sign}.1f} %"
    return f"{value:{sign}.0f}" if name == "latency_ms" else f"{value:{sign}.3g}"


def difference(name: str, found: MetricValue) -> str:
    if found.difference is None:
        return ""
    text = figure(name, found.difference, signed=True)
    interval: Interval | None = found.difference_interval
    if interval is None:
        return text
    return f"{text} ({figure(name, interval.low, signed=True)} to {figure(name, interval.high, signed=True)})"


def chart(found: Results, name: str) -> SafeString | str:
    days, series = daily_series(found, name)
    if not days:
        return ""
    title, unit = CHARTS[name]
    return Chart(
        title=f"{title} by day",
        labels=[f"{day:%b} {day.day}" for day in days],
        series=[Series(variant, values) for variant, values in series.items()],
        unit=unit,
    ).lines()
