"""Compilers whose pipelines sort by an index. Django loads the compilers from this module by name."""

from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.compiler import (
    SQLAggregateCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django_mongodb_backend.query import MongoQuery

from aichat.core.database.mongodb.defaults import DefaultsOfColumns

__all__ = ["SQLAggregateCompiler", "SQLCompiler", "SQLDeleteCompiler", "SQLInsertCompiler", "SQLUpdateCompiler"]


class SortableQuery(MongoQuery):  # type: ignore[misc]
    """Puts `$sort` right after `$match`, where MongoDB sorts by an index.

    MongoDB's Django backend puts the `$lookup`s of `select_related()`, the `$project` of `values()` and even
    `{"$addFields": {"x": "$x"}}` before `$sort`, and then every page of a list would join and sort all rows.
    """

    extra_fields: Any
    lookup_pipeline: Any
    project_fields: Any

    def get_pipeline(self) -> list[dict[str, Any]]:
        self.extra_fields = {
            name: value for name, value in (self.extra_fields or {}).items() if value != f"${name}"
        } or None
        if not self.ordering or not self._sorts_stored_fields():
            return super().get_pipeline()  # type: ignore[no-any-return]
        joins, projection = self.lookup_pipeline, self.project_fields
        later = [*(joins or ()), *([{"$project": projection}] if projection else ())]
        self.lookup_pipeline = self.project_fields = None
        try:
            return [*super().get_pipeline(), *later]
        finally:
            self.lookup_pipeline, self.project_fields = joins, projection

    def _sorts_stored_fields(self) -> bool:
        """Whether the same rows come in the same order when joins and projection wait until after the sorting."""
        if self.aggregation_pipeline or self.combinator_pipeline or self.extra_fields or self.subquery_lookup:
            return False
        if self.subqueries or self.search_pipeline:
            return False
        joined = set()
        for stage in self.lookup_pipeline or ():
            lookup = stage.get("$lookup")
            if lookup:
                if lookup.get("foreignField") != "_id" or lookup.get("pipeline"):
                    return False  # not the one row a foreign key points to
                joined.add(lookup["as"])
        used = repr([self.match_mql, self.ordering])
        if any(f"{name}." in used or f"${name}" in used for name in joined):
            return False
        return all((self.project_fields or {}).get(name, 1) == 1 for name in self.ordering)


class SQLCompiler(DefaultsOfColumns, compiler.SQLCompiler):  # type: ignore[misc]
    query_class = SortableQuery
