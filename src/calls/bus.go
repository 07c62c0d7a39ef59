package calls

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"time"

	"homeconf/src/ubus"
)

// NoBus as the path of ubusd's socket says that there is none.
const NoBus = "none"

const (
	// dialTime is how long ubusd may take to answer at start.
	dialTime = 2 * time.Second
	// publishFirst is the pause after a publishing that was refused; it doubles
	// up to publishLast.
	publishFirst, publishLast = time.Second, time.Minute
)

// DialBus connects to ubusd at path, or where it usually is when path is "". It
// gives nil where there is none: then this is no OpenWrt.
func DialBus(path string, log *slog.Logger) *ubus.Client {
	paths := ubus.Paths
	if path != "" {
		paths = []string{path}
	}
	for _, p := range paths {
		if fi, err := os.Stat(p); p == NoBus || err != nil || fi.Mode().Type() != os.ModeSocket {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), dialTime)
		defer cancel()
		d := ubus.Dialer{Path: p, OnError: func(err error) { log.Warn("ubus", "err", err) }}
		client, err := d.Dial(ctx)
		if err == nil {
			return client
		}
		log.Error("ubus does not answer; going on without it", "socket", p, "err", err)
	}
	return nil
}

// PublishBus publishes an object until ctx ends, and then takes it back. The
// client publishes it again by itself after a restart of ubusd.
func PublishBus(ctx context.Context, client *ubus.Client, o ubus.Object, log *slog.Logger, published func(*ubus.Published)) {
	for pause := publishFirst; ; pause = min(2*pause, publishLast) {
		p, err := client.AddObject(ctx, o)
		if err == nil {
			published(p)
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
			defer cancel()
			if err := p.Remove(end); err != nil {
				log.Debug("object was not taken back; it goes with the connection", "object", o.Path, "err", err)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		log.Error("object is not published on ubus", "object", o.Path, "err", err, "again_in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ServeBus is DialBus and PublishBus in one, for who has no other use of ubus.
func ServeBus(ctx context.Context, path string, d Daemon, h Handler, log *slog.Logger) {
	client := DialBus(path, log)
	if client == nil {
		return
	}
	defer client.Close()
	PublishBus(ctx, client, Object(d, h), log, func(*ubus.Published) {})
}

// ObjectPath is a daemon's object on ubus.
func ObjectPath(d Daemon) string {
	if d == Agent {
		return "homeconf.agent"
	}
	return "homeconf"
}

// Object is a daemon's object on ubus: its calls in the table, each a method of
// the same name with the same arguments and the same result as on the socket.
// ubus knows numbers for errors only, so a failed call answers a table, too:
// its code and its message.
func Object(d Daemon, h Handler) ubus.Object {
	o := ubus.Object{Path: ObjectPath(d)}
	for i := range Table {
		c := &Table[i]
		if c.Daemon != d {
			continue
		}
		m := ubus.Method{Name: c.Name, Handle: func(ctx context.Context, r *ubus.Request) (ubus.Table, error) {
			return c.onBus(ctx, r.Args, h)
		}}
		for _, a := range c.Args {
			m.Params = append(m.Params, ubus.Param{Name: a.Name, Type: a.busType()})
		}
		o.Methods = append(o.Methods, m)
	}
	return o
}

// busType is how a signature names the argument. Whatever type a caller sends,
// the value decides: the ubus program makes an int32 of a number, uhttpd a
// double.
func (a *Arg) busType() ubus.Type {
	switch a.Kind {
	case Bool:
		return ubus.TypeBool
	case Int:
		return ubus.TypeInt32
	}
	return ubus.TypeString // a duration as "2m30s", or a number of seconds
}

func (c *Call) onBus(ctx context.Context, args ubus.Table, h Handler) (ubus.Table, error) {
	t, err := c.answerBus(ctx, args, h)
	if err == nil {
		return t, nil
	}
	e := asError(err)
	return new(ubus.Builder).String("code", string(e.Code)).String("message", e.Message).Table(), e.Code.busStatus()
}

func (c *Call) answerBus(ctx context.Context, args ubus.Table, h Handler) (ubus.Table, error) {
	given := map[string]json.RawMessage{}
	for name, v := range args.All() {
		if _, twice := given[name]; !twice && len(given) < maxArgs {
			given[name] = v.AppendJSON(nil)
		}
	}
	known, err := c.decodeArgs(given)
	if err != nil {
		return ubus.Table{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result, err := h(ctx, c.Name, known)
	if err != nil {
		return ubus.Table{}, err
	}
	return BusTable(result)
}

// BusTable makes a table of a result: the same names and values as its JSON has.
func BusTable(result any) (ubus.Table, error) {
	text, err := json.Marshal(result)
	if err != nil {
		return ubus.Table{}, err
	}
	t, err := ubus.ParseJSON(text)
	if err != nil {
		return ubus.Table{}, err
	}
	return t, t.Err()
}

func (c Code) busStatus() ubus.Status {
	switch c {
	case NotFound:
		return ubus.StatusNotFound
	case InvalidArgument:
		return ubus.StatusInvalidArgument
	case PermissionDenied:
		return ubus.StatusPermissionDenied
	case UnknownCall:
		return ubus.StatusMethodNotFound
	case Busy:
		return ubus.StatusTimeout // what ubus has for "try again"
	}
	return ubus.StatusUnknownError
}
