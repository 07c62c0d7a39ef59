package ubus

import "sync"

// Bounds of what waits in one queue.
const (
	maxQueued      = 1024
	maxQueuedBytes = 4 << 20
)

// queue runs jobs, in the order they came, on at most so many goroutines, which
// there are only while there are jobs. The reader of a connection puts what it
// must not wait for here.
type queue struct {
	workers int

	mu      sync.Mutex
	jobs    []job
	bytes   int
	running int
}

type job struct {
	size int
	run  func()
}

// put adds a job that keeps size bytes alive. It says no when too much waits.
func (q *queue) put(size int, run func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) >= maxQueued || len(q.jobs) > 0 && q.bytes+size > maxQueuedBytes {
		return false
	}
	q.jobs = append(q.jobs, job{size, run})
	q.bytes += size
	if q.running < q.workers {
		q.running++
		go q.work()
	}
	return true
}

func (q *queue) work() {
	for {
		q.mu.Lock()
		if len(q.jobs) == 0 {
			q.running--
			q.jobs = nil // an idle queue keeps no memory
			q.mu.Unlock()
			return
		}
		next := q.jobs[0]
		q.jobs[0] = job{}
		q.jobs = q.jobs[1:]
		q.bytes -= next.size
		q.mu.Unlock()
		next.run()
	}
}
