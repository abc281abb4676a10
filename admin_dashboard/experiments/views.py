"""The REST endpoints of experiments and their results."""

import csv
from io import StringIO

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import calling
from accounts.permissions import IsAdmin
from admin_dashboard.experiments.checks import check_models
from admin_dashboard.experiments.presentation import as_json, as_rows
from admin_dashboard.experiments.results import Results, results_of
from aichat.core.errors import NotFound
from aichat.core.web.csv_export import CSVRenderer, safe
from aichat.core.web.openapi import may_answer
from aichat.flags import services
from aichat.flags.models import Experiment
from aichat.flags.serializers import ExperimentSerializer
from aichat.flags.views import HistoryView, save


def experiment_named(key: str) -> Experiment:
    row = Experiment.objects.filter(key=key).first()
    if row is None:
        raise NotFound()
    return row


def checked(form: ExperimentSerializer) -> ExperimentSerializer:
    """Return an experiment's valid serializer. The models can be called, unless the experiment ends."""
    form.is_valid(raise_exception=True)
    data, row = form.validated_data, form.instance or Experiment()
    try:
        if "variants" in data or data.get("status") == Experiment.Status.RUNNING:
            check_models(data.get("variants", row.variants), data.get("requested_models", row.requested_models))
    except ValidationError as error:
        raise services.as_invalid_request(error) from None
    return form


@extend_schema_view(get=extend_schema(summary="All experiments"))
class ExperimentsView(ListAPIView[Experiment]):
    """All experiments, whatever their status."""

    serializer_class = ExperimentSerializer
    permission_classes = [IsAdmin]
    queryset = Experiment.objects.all()

    @extend_schema(
        operation_id="admin_experiments_create", summary="Make an experiment", responses={201: ExperimentSerializer}
    )
    def post(self, request: Request) -> Response:
        """Add an experiment: a draft, unless its `status` is `running`. The first variant is the control."""
        row = save(checked(ExperimentSerializer(data=request.data)), Experiment(), request)
        return Response(ExperimentSerializer(row).data, status=status.HTTP_201_CREATED)


class ExperimentView(GenericAPIView[Experiment]):
    serializer_class = ExperimentSerializer
    permission_classes = [IsAdmin]

    @extend_schema(summary="One experiment")
    def get(self, request: Request, key: str) -> Response:
        """Return one experiment: its variants, audience and status."""
        return Response(ExperimentSerializer(experiment_named(key)).data)

    @extend_schema(summary="Change an experiment")
    def patch(self, request: Request, key: str) -> Response:
        """Start, freeze or stop an experiment by `status`, ramp it by `percentage`, name a stopped one's `winner`."""
        row = experiment_named(key)
        form = checked(ExperimentSerializer(row, data=request.data, partial=True))
        return Response(ExperimentSerializer(save(form, row, request)).data)

    @extend_schema(summary="Delete an experiment", responses={204: None})
    @may_answer(400)
    def delete(self, request: Request, key: str) -> Response:
        """Delete a draft. An experiment that has begun stays, because usage records name it."""
        services.delete(experiment_named(key), actor=calling(request).user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExperimentHistoryView(HistoryView):
    row_type = Experiment


class ResultsView(APIView):
    permission_classes = [IsAdmin]
    renderer_classes = [JSONRenderer, CSVRenderer]

    @extend_schema(
        summary="Results of an experiment",
        parameters=[OpenApiParameter("format", str, enum=["json", "csv"])],
        responses={
            (200, "application/json"): OpenApiResponse(
                {"type": "object", "additionalProperties": True},
                "Figures per variant; differences to the control with their interval once there is enough data.",
            ),
            (200, "text/csv"): OpenApiResponse({"type": "string"}),
        },
    )
    def get(self, request: Request, key: str) -> Response | HttpResponse:
        """Return an experiment's results. Differences are null until every variant has its `sample_size` of units."""
        found = results_of(experiment_named(key))
        if request.accepted_renderer.format == "csv":
            return csv_response(found)
        return Response(as_json(found))


def csv_response(found: Results) -> HttpResponse:
    text = StringIO()
    csv.writer(text).writerows([safe(value) for value in row] for row in as_rows(found))
    name = f"{found.experiment.key}-results.csv"
    return HttpResponse(
        text.getvalue(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
