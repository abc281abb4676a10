"""One row for each attempt that mattered: who asked whom for what, how it ended, what it cost them and us."""

from django.conf import settings
from django.db import models

from aichat.core.database.models import Row


class UsageRecord(Row):
    """An attempt of a request, written in the commit that settles the request: no charge is without its record.

    A request whose first candidate failed has a row for each attempt; the last has `final` and the charge.
    """

    class Kind(models.TextChoices):
        CHAT = "chat"
        IMAGE = "image"
        EMBEDDING = "embedding"
        MODERATION = "moderation"
        SPEECH = "speech"
        TRANSCRIPTION = "transcription"

    class Source(models.TextChoices):
        EXACT = "EXACT", "reported by the provider"
        ESTIMATED = "ESTIMATED", "counted by us"
        IMPLAUSIBLE = "IMPLAUSIBLE", "reported, and not believed"

    request_id = models.CharField(max_length=64)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="usage", db_index=False
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="usage", db_index=False)
    api_key_id = models.UUIDField(null=True, blank=True)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.CHAT)

    requested_model = models.CharField(max_length=100, help_text="As the client named it.")
    model = models.CharField(max_length=100, help_text="The one that was called.")
    provider = models.CharField(max_length=50)
    status = models.CharField(max_length=30, help_text="ok, partial, cancelled, or how the attempt failed.")
    attempt = models.PositiveSmallIntegerField(default=1)
    final = models.BooleanField(default=True, help_text="The attempt that ended the request.")
    streamed = models.BooleanField(default=False)
    cached = models.BooleanField(default=False)
    fallback = models.BooleanField(default=False, help_text="Another than the first candidate served.")
    experiment = models.CharField(max_length=100, blank=True)
    variant = models.CharField(max_length=100, blank=True)
    unit = models.UUIDField(null=True, blank=True, help_text="The user or conversation the variant was drawn for.")
    finish_reason = models.CharField(max_length=30, blank=True)

    input_tokens = models.PositiveIntegerField(default=0)
    cached_input_tokens = models.PositiveIntegerField(default=0, help_text="Part of the input tokens.")
    output_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0, help_text="Part of the output tokens.")
    images = models.PositiveIntegerField(default=0)
    characters = models.PositiveIntegerField(default=0, db_default=0, help_text="Of the text that was spoken.")
    audio_ms = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Milliseconds of the audio that was transcribed."
    )
    source = models.CharField(max_length=15, choices=Source.choices, default=Source.EXACT)
    reported = models.JSONField(null=True, blank=True, help_text="The provider's figures, when they were not believed.")

    charged = models.BigIntegerField(default=0, help_text="Microcredits the user paid.")
    shortfall = models.BigIntegerField(default=0, help_text="Microcredits that could not be taken.")
    cost_nanousd = models.BigIntegerField(default=0, help_text="Billionths of a US dollar the provider bills us.")
    saved = models.BigIntegerField(default=0, db_default=0, help_text="Microcredits the prompt cache spared the user.")
    saved_nanousd = models.BigIntegerField(default=0, db_default=0, help_text="Billionths of a US dollar it spared us.")
    prices = models.JSONField(default=dict, help_text="The prices in force at the time.")
    hold_id = models.UUIDField(null=True, blank=True, db_index=True)
    reference = models.CharField(max_length=100, blank=True, help_text="Of the charge in the ledger.")

    latency_ms = models.PositiveIntegerField(default=0)
    first_token_ms = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_index=True)
    day = models.DateField(help_text="The UTC day, for sums by day.")

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-created_at"], name="usage_of_organization"),
            models.Index(fields=["user", "-created_at"], name="usage_of_user"),
            models.Index(fields=["day", "model"], name="usage_by_day_and_model"),
            models.Index(fields=["model", "-created_at"], name="usage_by_model"),
            models.Index(fields=["status", "-created_at"], name="usage_by_status"),
            models.Index(fields=["experiment", "created_at"], name="usage_of_experiment"),
            models.Index(fields=["request_id"], name="usage_of_request"),
            models.Index(
                fields=["source", "-created_at"],
                condition=models.Q(source__in=["ESTIMATED", "IMPLAUSIBLE"]),
                name="usage_not_exact",
            ),
            # Not for chats, of which most records are: they are found by their time.
            models.Index(
                fields=["kind", "-created_at"],
                condition=models.Q(kind__in=["image", "embedding", "moderation", "speech", "transcription"]),
                name="usage_of_other_kinds",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.status}"


class Sums(Row):
    """The sums of a time for one organization, user, key, kind, model and variant.

    `aichat/usage/rollup.py` makes the row from the records, and can always make it again.
    """

    day = models.DateField()
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    api_key_id = models.UUIDField(null=True, blank=True)
    kind = models.CharField(
        max_length=20, choices=UsageRecord.Kind.choices, default=UsageRecord.Kind.CHAT, db_default=UsageRecord.Kind.CHAT
    )
    model = models.CharField(max_length=100)
    provider = models.CharField(max_length=50)
    experiment = models.CharField(max_length=100, blank=True)
    variant = models.CharField(max_length=100, blank=True)

    attempts = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0, help_text="Attempts that ended their request.")
    failures = models.BigIntegerField(default=0, help_text="Requests that ended otherwise than whole or cancelled.")
    fallbacks = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    estimated = models.BigIntegerField(default=0, help_text="Requests whose usage we counted ourselves.")
    implausible = models.BigIntegerField(
        default=0, db_default=0, help_text="Requests whose reported usage was not believed."
    )
    input_tokens = models.BigIntegerField(default=0)
    cached_input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    images = models.BigIntegerField(default=0)
    characters = models.BigIntegerField(default=0, db_default=0, help_text="Of the texts that were spoken.")
    audio_ms = models.BigIntegerField(
        default=0, db_default=0, help_text="Milliseconds of the audio that was transcribed."
    )
    charged = models.BigIntegerField(default=0, help_text="Microcredits.")
    shortfall = models.BigIntegerField(default=0, help_text="Microcredits.")
    cost_nanousd = models.BigIntegerField(default=0)
    saved = models.BigIntegerField(default=0, db_default=0, help_text="Microcredits.")
    saved_nanousd = models.BigIntegerField(default=0, db_default=0)
    hit_input_tokens = models.BigIntegerField(
        default=0, db_default=0, help_text="Of cached answers: no provider bills them."
    )
    hit_cached_input_tokens = models.BigIntegerField(default=0, db_default=0)
    hit_output_tokens = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True


class DailyUsage(Sums):
    """The sums of a UTC day: what figures are read from."""

    class Meta:
        verbose_name_plural = "daily usage"
        indexes = [
            models.Index(fields=["day", "model"], name="daily_by_day"),
            models.Index(fields=["user", "day"], name="daily_of_user"),
            models.Index(fields=["organization", "day"], name="daily_of_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class HourlyUsage(Sums):
    """The sums of an hour of the last days (`rollup.KEPT`), for windows that begin or end within a day."""

    hour = models.DateTimeField(help_text="Its beginning.")

    class Meta:
        verbose_name_plural = "hourly usage"
        indexes = [
            models.Index(fields=["hour"], name="hourly_by_hour"),
            models.Index(fields=["user", "hour"], name="hourly_of_user"),
            models.Index(fields=["organization", "hour"], name="hourly_of_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.hour} {self.model}"


class Latencies(Row):
    """How many requests of a time took how long and how they ended: a histogram, from which percentiles are read."""

    day = models.DateField()
    model = models.CharField(max_length=100)
    provider = models.CharField(max_length=50)
    experiment = models.CharField(max_length=100, blank=True)
    variant = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=30)
    bucket = models.PositiveSmallIntegerField(help_text="See `aichat/usage/histogram.py`.")
    requests = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class DailyLatency(Latencies):
    """The histograms of a UTC day."""

    class Meta:
        indexes = [models.Index(fields=["day", "model"], name="latency_by_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.model} {self.status}"


class HourlyLatency(Latencies):
    """The histograms of an hour of the last days (`rollup.KEPT`), for windows that begin or end within a day."""

    hour = models.DateTimeField(help_text="Its beginning.")

    class Meta:
        indexes = [models.Index(fields=["hour"], name="latency_by_hour")]

    def __str__(self) -> str:
        return f"{self.hour} {self.model} {self.status}"


class RollupState(Row):
    """One row: records made before `through` are in the roll-ups, later ones are not.

    The hourly roll-ups hold only records since `hours_from`, the beginning of an hour. None: the installation is older than
    hourly roll-ups, and the next roll-up begins with them.
    """

    through = models.DateTimeField()
    hours_from = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"through {self.through}"
