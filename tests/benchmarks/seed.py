"""People with keys and credits, and the models of the fake upstream, in the database of a service under measurement.

python -m tests.benchmarks.seed PEOPLE MODEL…     (prints the keys as JSON)
"""

import json
import sys

import django

django.setup()  # before our models can be imported

from accounts.models import User
from accounts.services import create_api_key
from accounts.tenancy import personal_organization
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.money import CREDIT
from credits.services import grant


def person(number: int) -> str:
    """A key of a new person who can pay whatever is measured. Without a password: nobody logs in."""
    user = User.objects.create_user(f"bench{number}@example.com", None)
    organization = personal_organization(user)
    grant(organization, 10**6 * CREDIT, reason="benchmark")
    return create_api_key(user=user, organization=organization, name="bench")[1]


def main(people: int, slugs: list[str]) -> None:
    provider = Provider.objects.get(slug="openai")
    for slug in slugs:
        model = AIModel.objects.create(slug=slug, provider=provider)
        Price.objects.create(model=model, input_price=CREDIT, output_price=CREDIT, input_cost=1000, output_cost=1000)
    print(json.dumps([person(number) for number in range(people)]))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
