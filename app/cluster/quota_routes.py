"""The routes of quotas."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import AfterValidator

from app.auth.principals import Admin, Viewer
from app.auth.schemas import check_user
from app.cluster.quota_schemas import NewQuota, QuotaPage, QuotaView
from app.http.errors import NotFound
from app.http.session import Reading, Writing
from app.jobs import quota_queries
from app.jobs.quotas import EVERYONE
from app.models import Quota
from core.spec.fields import ONE_LINE

router = APIRouter(prefix="/quotas", tags=["cluster"])


def _check_owner(owner: str) -> str:
    return owner if owner == EVERYONE else check_user(owner)


Owner = Annotated[
    str,
    AfterValidator(_check_owner),
    Path(
        min_length=1, max_length=100, pattern=ONE_LINE, description="a user, or `*` for everyone without a quota"
    ),
]  # fmt: skip


@router.get("")
def get_quotas(_principal: Viewer, session: Reading) -> QuotaPage:
    """List quotas; that of `*` holds for everyone without one of their own."""
    return QuotaPage(items=[QuotaView.of(quota) for quota in quota_queries.list_quotas(session)])


# The name of a user may have slashes.
@router.put("/{owner:path}")
def put_quota(owner: Owner, new: NewQuota, _principal: Admin, session: Writing) -> QuotaView:
    """Set the quota of a user, in place of an earlier one. What is null or left out is not limited."""
    quota = Quota(owner=owner, **new.model_dump())
    view = QuotaView.of(quota)
    quota_queries.put_quota(session, quota)
    return view


@router.delete("/{owner:path}", status_code=204)
def delete_quota(owner: Owner, _principal: Admin, session: Writing) -> None:
    """Delete the quota of a user: that of `*` holds for them again."""
    if not quota_queries.delete_quota(session, owner):
        raise NotFound("this user has no quota: `mcn quota list` or `GET /quotas` lists the existing ones")
