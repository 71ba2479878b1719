"""Views of auction campaigns in one serving process: counted aside, told to the funnel."""

from __future__ import annotations

from kindred.events.auction_views import AuctionViews
from kindred.indexer.columns import Columns
from kindred.rerank.auction_pool import Deliveries
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


class LiveAuctions:
    """What the funnels of one process read, whichever index is in use."""

    def __init__(self, views: AuctionViews) -> None:
        self.deliveries = Deliveries()
        self._views = views
        self._counting = False
        self._told: tuple[Columns | None, int] = (None, -1)

    @classmethod
    def of(cls, workspace: Workspace, settings: KindredSettings) -> LiveAuctions | None:
        """Of a workspace; None where there are no auction places, or no log to count views by."""
        auction = settings.blend.auction
        if not (auction.places and settings.decisions.log):
            return None
        views = AuctionViews(
            workspace.lake, workspace.decisions, every_s=auction.refresh_s,
            look_back_days=auction.look_back_days,
        )  # fmt: skip
        return cls(views)

    def refresh(self, columns: Columns) -> None:
        """Tell the funnel of views that are new; counting begins with the first campaign."""
        if not self._counting:
            if not len(self.deliveries.auctioned(columns)):
                return
            self._views.start()
            self._counting = True
        if self._told != (columns, self._views.version):
            version, views = self._views.counts()
            self.deliveries.tell(columns, views)
            self._told = (columns, version)

    def close(self) -> None:
        """End the counting."""
        self._views.close()
