package ubus

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// firstDelay and maxDelay bound the wait between two attempts to connect
	// again; the wait doubles, and is jittered down to its half.
	firstDelay = 20 * time.Millisecond
	maxDelay   = time.Second
	// maxRetryDelay is the same for what the server refused to register again.
	maxRetryDelay = 30 * time.Second
)

// wish is what is to be registered on every connection.
type wish interface {
	// register does it on a new connection, or nothing where it is done.
	register(context.Context, *conn) error
	// lost forgets the connection.
	lost()
}

// run keeps a connection until the client is closed.
func (c *Client) run(cn *conn) {
	defer close(c.ended)
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	delay := firstDelay
	again := func(failed bool) {
		retry.Stop()
		if failed {
			delay = min(2*delay, maxRetryDelay)
			retry.Reset(jittered(delay))
		}
	}
	for {
		select {
		case <-c.ctx.Done():
			cn.end(errClosed)
			c.use(nil)
			return
		case <-retry.C:
			again(!c.restore(cn))
		case <-cn.done:
			c.use(nil)
			c.forEach(wish.lost)
			if cn = c.redial(); cn == nil {
				c.use(nil)
				return
			}
			c.use(cn)
			delay = firstDelay
			again(!c.restore(cn))
			if c.d.Reconnected != nil {
				c.told.put(0, c.d.Reconnected)
			}
		}
	}
}

func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// redial tries until there is a connection; nil when the client is closed.
func (c *Client) redial() *conn {
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		select {
		case <-c.ctx.Done():
			return nil
		case <-time.After(jittered(delay)):
		}
		if cn, err := c.d.connect(c.ctx); err == nil {
			return cn
		}
	}
}

// use makes cn the connection of all requests from now on.
func (c *Client) use(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = cn
	clear(c.known)
	close(c.changed)
	c.changed = make(chan struct{})
}

// forEach calls f with every wish.
func (c *Client) forEach(f func(wish)) {
	c.registering <- struct{}{}
	defer func() { <-c.registering }()
	for _, w := range c.wishes {
		f(w)
	}
}

// restore registers everything on the connection, and says whether that worked.
func (c *Client) restore(cn *conn) bool {
	ok := true
	c.forEach(func(w wish) {
		ctx, cancel := context.WithTimeout(c.ctx, DefaultTimeout)
		defer cancel()
		err := w.register(ctx, cn)
		if err != nil && !errors.Is(err, StatusConnectionFailed) {
			c.report(err)
		}
		ok = ok && err == nil
	})
	return ok
}

// add registers a wish, now and on every later connection.
func (c *Client) add(ctx context.Context, w wish) error {
	ctx, cancel := within(ctx)
	defer cancel()
	for {
		cn, err := c.current(ctx)
		if err != nil {
			return err
		}
		select {
		case c.registering <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
		stale := c.conn != cn
		c.mu.Unlock()
		if !stale {
			if err = w.register(ctx, cn); err == nil {
				c.wishes = append(c.wishes, w)
			}
		}
		<-c.registering
		if !stale {
			return err
		}
	}
}

// remove takes a wish back, then does what else it takes with the connection, if
// there is one. Taking it back twice is no error.
func (c *Client) remove(ctx context.Context, w wish, undo func(context.Context, *conn) error) error {
	ctx, cancel := within(ctx)
	defer cancel()
	select {
	case c.registering <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.registering }()
	for i, other := range c.wishes {
		if other != w {
			continue
		}
		c.wishes = append(c.wishes[:i:i], c.wishes[i+1:]...)
		c.mu.Lock()
		cn := c.conn
		c.mu.Unlock()
		if cn == nil {
			return nil // the server has forgotten it already
		}
		if err := undo(ctx, cn); err != nil && !errors.Is(err, StatusConnectionFailed) {
			return err
		}
	}
	return nil
}
