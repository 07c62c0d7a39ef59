package scene_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homeconf/src/calls"
	"homeconf/src/lab"
	"homeconf/src/lab/scene"
	"homeconf/src/model"
	"homeconf/src/session"
)

// The scene has three acts: a new box comes and is let in; the owner gives it
// another address, which takes back what the first act made; and the box is
// reset at the box, or let go at the gateway, which makes a stranger of it. One
// of the last two is played only by those who are killed in it.
const (
	comes = iota
	moves
	resets
	retires
	acts
)

// often is how many times that a point is passed in an act are tried: the pass
// over the home comes by for the stranger first, and then for the new box.
const often = 2

// chosen is the address that the owner chooses in the second act.
var chosen = netip.MustParseAddr("192.168.1.60")

// point is where a daemon is killed: in which act, which daemon, and at which
// of the points that it passes.
type point struct {
	act    int
	daemon calls.Daemon
	name   string
	time   int // 1 for the first one
}

func (p point) String() string {
	return fmt.Sprintf("act %d, %s at %s#%d", p.act+1, p.daemon, p.name, p.time)
}

// stage is a world that the scene is played in again and again.
type stage struct {
	home  *scene.Home
	box   *scene.Box
	clean *scene.Snapshot
	key   []byte // the same box in all worlds
	id    model.DeviceID
}

func newStage(t *testing.T, l *lab.Lab, binary string, key []byte) (s *stage, err error) {
	s = &stage{key: key}
	if s.home, err = scene.New(l, binary, scene.World()); err != nil {
		return nil, err
	}
	if s.clean, err = s.home.Snapshot(); err != nil {
		return nil, err
	}
	if s.box, err = s.home.NewBox("stb", "IPTV box"); err != nil {
		return nil, err
	}
	for _, d := range daemons {
		if err := os.Mkdir(s.steps(d), 0o755); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// steps is the folder that a daemon tells of its points in, and reads its own
// death from.
func (s *stage) steps(d calls.Daemon) string {
	return filepath.Join(filepath.Dir(s.home.GW.Dir), "steps-"+string(d))
}

// passed counts how often a daemon has passed its points.
func (s *stage) passed(d calls.Daemon) map[string]int {
	count := map[string]int{}
	b, _ := os.ReadFile(filepath.Join(s.steps(d), "passed")) // not there: it has not come as far as that
	for _, name := range strings.Fields(string(b)) {
		count[name]++
	}
	return count
}

// arm has a daemon die when it comes by a point.
func (s *stage) arm(p point) error {
	path := filepath.Join(s.steps(p.daemon), "crash")
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%s#%d", p.name, p.time), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *stage) start(d calls.Daemon) (*lab.Process, error) {
	env := "HOMECONF_STEPS=" + s.steps(d)
	if d == calls.Configurator {
		err := s.home.Start(env)
		return s.home.Configurator, err
	}
	err := s.box.Start(env)
	return s.box.Agent, err
}

// outcome is what came of a run.
type outcome struct {
	ends   [acts]string                          // transcripts
	passed [acts]map[calls.Daemon]map[string]int // points, by act, where nobody dies
	after  map[calls.Daemon]map[string]int       // points that were passed in all
	died   int
	took   time.Duration
	err    error
}

// play plays the scene, in which daemons are killed, one after the other, and
// started again at once; want are the ends that are waited for, if known.
func (s *stage) play(ctx context.Context, last int, deaths []point, want [acts]string) (o outcome) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	defer func() { o.took = time.Since(began) }()
	if o.err = s.home.Restore(ctx, s.clean, s.box); o.err != nil {
		return o
	}
	if o.err = os.WriteFile(filepath.Join(s.box.StateDir, "agent.key"), s.key, 0o600); o.err != nil {
		return o
	}
	for _, d := range daemons {
		os.Remove(filepath.Join(s.steps(d), "passed"))
		os.Remove(filepath.Join(s.steps(d), "crash"))
	}
	k := &keeper{stage: s, left: slices.Clone(deaths), failed: make(chan error, 2)}
	defer func() { o.died = len(deaths) - len(k.left) }()
	playing, stop := context.WithCancel(ctx)
	defer func() { stop(); k.wg.Wait() }()
	if len(deaths) > 0 {
		last = max(moves, deaths[len(deaths)-1].act)
	}
	for act := range last + 1 {
		if act == resets && last == retires {
			continue
		}
		o.err = k.begin(playing, act)
		if o.err != nil {
			return o
		}
		end := make(chan error, 1)
		go func() { end <- s.act(playing, act) }()
		select {
		case o.err = <-end:
		case o.err = <-k.failed:
		}
		if o.err != nil {
			return o
		}
		if act > comes {
			if o.ends[act], o.err = s.end(ctx, act, want[act]); o.err != nil {
				return o
			}
		}
		if len(deaths) == 0 {
			o.passed[act] = map[calls.Daemon]map[string]int{}
			for _, d := range daemons {
				o.passed[act][d] = s.passed(d)
				os.Truncate(filepath.Join(s.steps(d), "passed"), 0)
			}
		}
	}
	o.after = map[calls.Daemon]map[string]int{}
	for _, d := range daemons {
		o.after[d] = s.passed(d)
	}
	return o
}

var daemons = []calls.Daemon{calls.Configurator, calls.Agent}

// keeper starts who died again, and prepares the next death before that.
type keeper struct {
	stage  *stage
	wg     sync.WaitGroup
	failed chan error

	mu   sync.Mutex
	act  int
	left []point
}

// begin begins an act.
func (k *keeper) begin(ctx context.Context, act int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.act = act
	if err := k.arm(); err != nil || act > 0 {
		return err
	}
	for _, d := range daemons {
		k.wg.Go(func() {
			if err := k.keep(ctx, d); err != nil {
				k.failed <- err
			}
		})
	}
	return k.stage.box.PlugIn()
}

func (k *keeper) arm() error {
	if len(k.left) == 0 || k.left[0].act != k.act {
		return nil
	}
	return k.stage.arm(k.left[0])
}

func (k *keeper) keep(ctx context.Context, d calls.Daemon) error {
	for {
		k.mu.Lock()
		p, err := k.stage.start(d)
		k.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.Done():
		}
		k.mu.Lock()
		if len(k.left) == 0 || k.left[0].daemon != d {
			err = fmt.Errorf("%s died, and was not killed: %v\n%s", d, p.Wait(), p.Output())
		} else {
			k.left = k.left[1:]
			err = k.arm()
		}
		k.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// act is what the person does, again and again until it is done.
func (s *stage) act(ctx context.Context, n int) error {
	var last error
	for {
		done, err := s.does(ctx, n)
		if done {
			return nil
		}
		if err != nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("act %d: %w; last: %w", n+1, ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *stage) does(ctx context.Context, n int) (done bool, err error) {
	st, waits, err := s.box.Waits(ctx)
	if err != nil {
		return false, err
	}
	if n == resets {
		if st.Device != s.id || st.Home == "" {
			return waits, s.box.HasNoAddress()
		}
		return false, s.box.Call(ctx, "agent_reset", calls.Args{"yes": true}, nil)
	}
	if n == retires {
		if st.Device == s.id && st.Home != "" {
			if err := s.home.Call(ctx, "device_retire", calls.Args{"id": string(s.id)}, nil); err == nil || calls.CodeOf(err) != calls.InvalidArgument {
				return false, err
			}
		}
		d, err := s.home.Show(ctx, s.id)
		return waits && err == nil && d.Record.State == model.DeviceRetired && s.box.HasNoAddress() != nil, err
	}
	s.id = st.Device
	if waits {
		return false, s.home.Call(ctx, "device_adopt", calls.Args{"id": string(st.Device), "code": st.Digits}, nil)
	}
	d, err := s.home.Show(ctx, st.Device)
	if err != nil {
		return false, err
	}
	if n == moves && d.Record.Choice.Address != chosen {
		return false, s.home.Call(ctx, "device_set", calls.Args{"id": string(st.Device), "address": chosen.String()}, nil)
	}
	return d.Progress == "configured" && d.Session != nil && st.Commit == "confirmed" && (n == comes || d.Record.Address == chosen), nil
}

// end waits until the home is as wanted, or else until it is still, and gives
// its transcript.
func (s *stage) end(ctx context.Context, act int, want string) (string, error) {
	take := func() (string, error) { return s.home.Transcript(ctx, s.box) }
	if act == resets {
		take = func() (string, error) { return s.box.Stranger(ctx) }
	}
	if act == retires {
		take = func() (string, error) {
			box, err := s.box.Stranger(ctx)
			rules, err2 := s.home.GW.Run(ctx, "iptables", "-t", "mangle", "-S")
			hosts, err3 := os.ReadFile(filepath.Join(s.home.ConfigDir, "dhcp"))
			// Which address DHCP lends hangs on when the reservation went.
			box = leased.ReplaceAllString(box, "LEASED")
			return box + rules + strings.ReplaceAll(string(hosts), s.home.Lab.Dir, "LAB"), errors.Join(err, err2, err3)
		}
	}
	last, since := "", time.Now()
	for {
		now, err := take()
		now = ours.ReplaceAllString(now, "${1}N'")
		switch {
		case err != nil && ctx.Err() != nil:
			return last, err
		case err == nil && want != "" && now == want:
			return now, nil
		case err == nil && now != last:
			last, since = now, time.Now()
		case err == nil && want == "" && time.Since(since) > time.Second, want != "" && time.Since(since) > 5*time.Second:
			return last, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var leased = regexp.MustCompile(`192\.168\.1\.[1-9]\d+`)

// TestKilledBetweenSteps kills one of the daemons between two steps, wherever
// there are two, and starts it again: the end is the same as without. The
// points are those that the daemons themselves tell of in a run in which nobody
// dies. Points that only a death leads to, such as those of going back, are
// found in the runs with one death, and then the daemon dies there as well.
func TestKilledBetweenSteps(t *testing.T) {
	bin := binary(t, "crashpoints")
	private, err := session.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	key := append(private.SecretText(), '\n')
	began := time.Now()

	type job struct {
		last   int // act, where nobody dies
		deaths []point
		o      outcome
	}
	jobs, done := make(chan job), make(chan job)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			var s *stage
			for j := range jobs {
				if s == nil {
					if s, j.o.err = newStage(t, newLab(t), bin, key); j.o.err != nil {
						done <- j
						return
					}
				}
				j.o = s.play(t.Context(), j.last, j.deaths, reference.ends)
				for act, want := range reference.ends {
					if got := j.o.ends[act]; got != "" && want != "" && got != want && j.o.err == nil {
						j.o.err = fmt.Errorf("the end of act %d differs:\n%s", act+1, diff(want, got))
					}
				}
				if j.o.err != nil {
					j.o.err = fmt.Errorf("%w\nthe configurator's log:\n%s\nthe agent's log:\n%s", j.o.err, s.home.Configurator.Output(), s.box.Agent.Output())
				}
				done <- j
			}
		})
	}
	defer wg.Wait()
	defer close(jobs)

	jobs <- job{last: resets}
	first := (<-done).o
	if first.err != nil {
		t.Fatal(first.err)
	}
	jobs <- job{last: retires}
	second := (<-done).o
	if second.err != nil {
		t.Fatal(second.err)
	}
	first.ends[retires], first.passed[retires] = second.ends[retires], second.passed[retires]
	reference = first
	checkReference(t, first.ends)

	known := map[string]bool{}
	var todo [][]point
	for act := range acts {
		for d, names := range first.passed[act] {
			for name, count := range names {
				if act == resets && known[string(d)+" "+name] {
					continue // what follows a reset is what went before
				}
				for n := range min(count, often) {
					todo = append(todo, []point{{act, d, name, n + 1}})
				}
			}
		}
		for d, names := range first.passed[act] {
			for name := range names {
				known[string(d)+" "+name] = true
			}
		}
	}
	slices.SortFunc(todo, func(a, b []point) int { return strings.Compare(a[0].String(), b[0].String()) })
	running, runs, again := 0, 0, map[string]int{}
	for len(todo) > 0 || running > 0 {
		next, out := job{}, jobs
		if len(todo) > 0 {
			next.deaths = todo[0]
		} else {
			out = nil
		}
		select {
		case out <- next:
			todo = todo[1:]
			running++
		case j := <-done:
			running--
			runs++
			t.Logf("%v: %d died, %.1f s", j.deaths, j.o.died, j.o.took.Seconds())
			last := j.deaths[len(j.deaths)-1]
			switch {
			case j.o.err != nil:
				t.Errorf("%v: %v", j.deaths, j.o.err)
				continue
			case j.o.died < len(j.deaths) && last.time == 1:
				// On a busy machine a step may be skipped, such as a report that
				// another one overtook; but not each time.
				if again[fmt.Sprint(j.deaths)]++; again[fmt.Sprint(j.deaths)] > 2 {
					t.Errorf("%v: nobody came by", last)
					continue
				}
				todo = append(todo, j.deaths)
				continue
			}
			for d, names := range j.o.after {
				for name := range names {
					if !known[string(d)+" "+name] {
						known[string(d)+" "+name] = true
						todo = append(todo, append(slices.Clone(j.deaths), point{last.act, d, name, 1}))
					}
				}
			}
		}
	}
	t.Logf("%d runs in %.1f s", runs, time.Since(began).Seconds())
	checkComplete(t, known)
}

// ours is the name of a section of ours: which of a device's sections is left
// after two stood there for a while does not matter.
var ours = regexp.MustCompile(`('hc_d[0-9a-f]{10}_)[0-9]+'`)

// reference is the run in which nobody dies.
var reference outcome

// checkReference holds what every end has, as each equals this one.
func checkReference(t *testing.T, ends [acts]string) {
	t.Helper()
	transcript := ends[moves]
	t.Logf("the end:\n%s\nthe end of the reset:\n%s", transcript, ends[resets])
	if s := ends[resets]; !strings.Contains(s, "agent.key") || strings.Contains(s, "agent.json") || strings.Contains(s, "192.168.1.") {
		t.Error("the reset has left something")
	}
	if s := ends[retires]; !strings.Contains(s, "agent.key") || strings.Contains(s, "agent.json") || strings.Contains(s, "hc_") || strings.Contains(s, "DSCP") || strings.Count(s, "LEASED/24") != 1 {
		t.Errorf("whom the home let go is not on DHCP, or something is left:\n%s", s)
	}
	for text, want := range map[string]int{
		"config host 'hc_":                        1,
		"-d 192.168.1.60/32":                      1,
		"-j HOMECONF_MARK":                        1,
		"192.168.1.250":                           0,
		"option ip '192.168.1.60'":                1,
		"192.168.1.60/24":                         1,
		"the same generation on both sides: true": 1,
		"pending":                                 0,
		".tmp":                                    0,
		"finding":                                 0,
	} {
		if n := strings.Count(transcript, text); n != want {
			t.Errorf("%q is %d times in the end, want %d", text, n, want)
		}
	}
}

// elsewhere has the files of the tests that kill at points which these scenes
// don't come by; each of them names the point.
var elsewhere = map[string]string{
	"agent/stranded.go":      "agent/stranded_test.go",
	"agent/keep.go":          "agent/keep_test.go",
	"configurator/backup.go": "configurator/rotate_scene_test.go",
	"configurator/keep.go":   "configurator/rotate_scene_test.go",
	"configurator/rotate.go": "configurator/rotate_scene_test.go",
	"configurator/lan.go":    "configurator/lan_crash_test.go",
}

// killedElsewhere says whether another test kills at a point of a file.
func killedElsewhere(t *testing.T, file, point string) bool {
	t.Helper()
	other := elsewhere[strings.TrimPrefix(file, "../../")]
	if other == "" {
		return false
	}
	b, err := os.ReadFile("../../" + other)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), `"`+point+`"`)
}

// checkComplete compares the points that were passed with those in the source:
// one that no run comes by is one that nobody was killed at.
func checkComplete(t *testing.T, known map[string]bool) {
	t.Helper()
	call := regexp.MustCompile(`\.Step\("([^"]+)"\)`)
	total := 0
	for _, d := range daemons {
		files, err := filepath.Glob("../../" + string(d) + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no source of the %s: %v", d, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range call.FindAllStringSubmatch(string(b), -1) {
				total++
				if !strings.HasSuffix(f, "_test.go") && !known[string(d)+" "+m[1]] && !killedElsewhere(t, f, m[1]) {
					t.Errorf("%s has the point %q, and no run came by it", f, m[1])
				}
			}
		}
	}
	t.Logf("%d points in the source, %d were passed", total, len(known))
}

// diff shows the lines that only one of two texts has.
func diff(a, b string) string {
	var out strings.Builder
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, l := range la {
		if !slices.Contains(lb, l) {
			fmt.Fprintln(&out, "-", l)
		}
	}
	for _, l := range lb {
		if !slices.Contains(la, l) {
			fmt.Fprintln(&out, "+", l)
		}
	}
	return out.String()
}
