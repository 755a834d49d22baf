/// Room for one request in a shard's queue; see `Storage::reserve`. Given back when dropped.
pub struct Reservation {
    _todo: (),
}
