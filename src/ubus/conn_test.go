package ubus

import (
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"homeconf/src/ubus/internal/frame"
)

// pipe is a connection, and the server's end of it.
func pipe(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	ours, server := net.Pipe()
	t.Cleanup(func() { server.Close() })
	hello, _ := new(frame.Writer).Begin(frame.Hello, 0, 5000).Bytes()
	go server.Write(hello)
	c, err := newConn(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.end(io.EOF) })
	server.SetDeadline(time.Now().Add(time.Minute))
	return c, server
}

// say has the server send messages.
func say(t *testing.T, server net.Conn, w *frame.Writer) {
	t.Helper()
	b, _ := w.Bytes()
	if _, err := server.Write(b); err != nil {
		t.Fatal(err)
	}
}

// hear is the next message the server gets.
func hear(t *testing.T, server net.Conn) *frame.Message {
	t.Helper()
	m, err := readMessage(server)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// An answer is one write, however large.
func TestReplyIsOneWrite(t *testing.T) {
	c, server := pipe(t)
	var b Builder
	for b.OpenArray("devices"); len(b.b) < 100<<10; b.Close() {
		b.OpenTable("").String("name", "Küche").Int("n", 5)
	}
	var w sync.WaitGroup
	w.Go(func() { c.reply(&frame.Message{Header: frame.Header{Seq: 7, Peer: 9}, ObjID: 11}, b.Table(), StatusOK) })
	buf := make([]byte, 1<<20)
	n, err := server.Read(buf) // a pipe gives no more than one write
	w.Wait()
	h, size, _ := frame.ParseHeader(buf)
	last, rest, _ := frame.ParseHeader(buf[min(n, frame.ReadLen+size):])
	if err != nil || h.Type != frame.Data || last.Type != frame.Status || n != 2*frame.ReadLen+size+rest {
		t.Errorf("%d bytes, %v: %+v of %d, %+v", n, err, h, size, last)
	}
}

// A notification that wants no answer is to the byte what libubus sends.
func TestNotifyFrame(t *testing.T) {
	c, server := pipe(t)
	c.seq = 2
	want := "000a0003884c01f70000004803000008884c01f70400000e7665632e7175696574000000070000248300001400047768617400006368616e676564008500000c00016e00000000010a00000501000000"
	go c.notify(t.Context(), 0x884c01f7, "vec.quiet", new(Builder).String("what", "changed").Int("n", 1).Table())
	got := make([]byte, len(want)/2)
	if _, err := io.ReadFull(server, got); err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x, %v, want\n%s", got, err, want)
	}
}

// An answer counts only from who was asked: a late one to a request that was
// given up may have the seq of another.
func TestAnswerOfAnother(t *testing.T) {
	c, server := pipe(t)
	done := make(chan error)
	go func() {
		_, _, err := c.invoke(t.Context(), 2000, "m", Table{})
		done <- err
	}()
	m := hear(t, server)
	say(t, server, new(frame.Writer).Begin(frame.Status, m.Seq, 3000).Uint32(frame.AttrStatus, 5))
	say(t, server, new(frame.Writer).Begin(frame.Status, m.Seq, 2000)) // without a status
	say(t, server, new(frame.Writer).Begin(frame.Status, m.Seq, 2000).Uint32(frame.AttrStatus, 6))
	if err := <-done; err != StatusPermissionDenied {
		t.Error(err)
	}
}

// An answer without an end takes bounded memory, and is an error.
func TestEndlessAnswer(t *testing.T) {
	c, server := pipe(t)
	done := make(chan error)
	r := &request{peer: 2000}
	go func() { done <- c.do(t.Context(), r, frame.Invoke, nil) }()
	m := hear(t, server)
	data := new(frame.Writer).Begin(frame.Data, m.Seq, 2000).Blob(frame.AttrData, make([]byte, maxBlob-8))
	for range 10 {
		say(t, server, data)
	}
	say(t, server, new(frame.Writer).Begin(frame.Status, m.Seq, 2000).Uint32(frame.AttrStatus, 0))
	if err := <-done; !errors.Is(err, StatusNoMemory) || len(r.answer) > maxAnswer/(maxBlob-8) {
		t.Errorf("%v, %d messages kept", err, len(r.answer))
	}
}

// What is no ubus ends the connection, and all who wait.
func TestNotUbus(t *testing.T) {
	for name, bad := range map[string]string{
		"version": "010100010000000000000004", "too long": "000100010000000000100001", "too short": "000100010000000000000003",
	} {
		t.Run(name, func(t *testing.T) {
			c, server := pipe(t)
			done := make(chan error)
			go func() { done <- c.do(t.Context(), &request{}, frame.Lookup, nil) }()
			hear(t, server)
			if _, err := server.Write(unhex(t, bad)); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != StatusConnectionFailed {
				t.Error(err)
			}
			<-c.done
		})
	}
	ours, server := net.Pipe()
	defer server.Close()
	status, _ := new(frame.Writer).Begin(frame.Status, 0, 0).Bytes()
	go server.Write(status)
	if _, err := newConn(t.Context(), ours); err == nil {
		t.Error("greeted by a STATUS")
	}
}
