package session

import (
	"time"

	"homeconf/src/link"
)

// bucket is a token bucket; the zero value is full at its first use.
type bucket struct {
	tokens float64
	last   time.Time
}

// take takes a token where there is one. Every tokens come each interval, up
// to burst.
func (b *bucket) take(now time.Time, every time.Duration, burst float64) bool {
	b.fill(now, every, burst)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) fill(now time.Time, every time.Duration, burst float64) {
	if b.last.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.last); d > 0 {
		b.tokens = min(burst, b.tokens+float64(d)/float64(every))
	}
	b.last = now
}

// next is when there will be a token.
func (b *bucket) next(now time.Time, every time.Duration, burst float64) time.Time {
	b.fill(now, every, burst)
	if b.tokens >= 1 {
		return now
	}
	// A nanosecond more, against rounding down to just before.
	return now.Add(time.Duration((1-b.tokens)*float64(every)) + 1)
}

// sourceSlots bounds what strangers' addresses cost in memory.
const sourceSlots = 1024

// sources is one bucket per source address in a fixed table, four ways to a
// row. An address that finds its row full takes the place of the one seen
// longest ago: so a flood from random addresses can only win full buckets,
// which the overall buckets bound.
type sources struct {
	seed uint64
	rows [sourceSlots / 4][4]struct {
		mac    link.MAC
		bucket bucket
	}
}

func (s *sources) take(now time.Time, mac link.MAC, every time.Duration, burst float64) bool {
	h := s.seed
	for _, b := range mac {
		h = (h ^ uint64(b)) * 0x100000001b3 // FNV-1a, seeded so that rows can't be aimed at
	}
	h ^= h >> 29
	row := &s.rows[h%uint64(len(s.rows))]
	oldest := 0
	for i := range row {
		if row[i].mac == mac && !row[i].bucket.last.IsZero() {
			return row[i].bucket.take(now, every, burst)
		}
		if row[i].bucket.last.Before(row[oldest].bucket.last) {
			oldest = i
		}
	}
	row[oldest].mac, row[oldest].bucket = mac, bucket{}
	return row[oldest].bucket.take(now, every, burst)
}
