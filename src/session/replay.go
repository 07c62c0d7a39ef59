package session

// replayWindow is the sliding window of RFC 6479: it tells counters that were
// not seen before, out of order up to its width. The zero value is ready.
type replayWindow struct {
	last  uint64
	any   bool
	block [replayBlocks]uint64
}

const (
	replayBlocks = 16
	// replayWidth is how far back a counter may lie: one block is always
	// being filled.
	replayWidth = (replayBlocks - 1) * 64
)

// fresh says whether a counter is new enough and was not accepted before. It
// changes nothing: the frame has not been authenticated yet.
func (w *replayWindow) fresh(n uint64) bool {
	if !w.any || n > w.last {
		return true
	}
	if w.last-n > replayWidth {
		return false
	}
	return w.block[n/64%replayBlocks]&(1<<(n%64)) == 0
}

// accept records the counter of an authenticated frame.
func (w *replayWindow) accept(n uint64) {
	if !w.any {
		w.any, w.last = true, n
	}
	if n > w.last {
		// Blocks between the old newest and the new one hold old counters.
		for i := range min(n/64-w.last/64, replayBlocks) {
			w.block[(n/64-i)%replayBlocks] = 0
		}
		w.last = n
	}
	w.block[n/64%replayBlocks] |= 1 << (n % 64)
}
