package ubus

import "testing"

// A queue runs at most so many at once, takes no more than its bounds, and keeps
// the order where there is one worker.
func TestQueue(t *testing.T) {
	q := queue{workers: 1}
	started, free, ran := make(chan bool), make(chan bool), make(chan int, 2*maxQueued)
	q.put(0, func() { started <- true; <-free })
	<-started
	for i := range maxQueued {
		if !q.put(1, func() { ran <- i }) {
			t.Fatalf("%d is refused", i)
		}
	}
	if q.put(1, func() {}) {
		t.Error("one too many is taken")
	}
	close(free)
	for i := range maxQueued {
		if got := <-ran; got != i {
			t.Fatalf("%d before %d", got, i)
		}
	}
}

func TestQueueBytes(t *testing.T) {
	q := queue{workers: 1}
	started, free := make(chan bool), make(chan bool)
	q.put(0, func() { started <- true; <-free })
	<-started
	if !q.put(2*maxQueuedBytes, func() {}) {
		t.Error("a single large one is refused")
	}
	if q.put(1, func() {}) {
		t.Error("more bytes than the bound are taken")
	}
	close(free)
}
