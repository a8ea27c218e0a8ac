package impair

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// An arrival is the number in a frame and when it came.
type arrival struct {
	n  int
	at time.Duration
}

// send sends count frames of this size, with pauses, through a Link, and returns what came when. Time is that of synctest's bubble.
func send(t *testing.T, c Config, count, size int, pause time.Duration) (got []arrival, lost, dropped uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := New(c, func(f []byte) {
			if len(f) != size {
				t.Errorf("a frame of %d bytes came; want %d", len(f), size)
			}
			got = append(got, arrival{int(f[0])<<8 + int(f[1]), time.Since(start)})
		})
		frame := make([]byte, size)
		for i := range count {
			frame[0], frame[1] = byte(i>>8), byte(i)
			l.Input(frame)
			if pause > 0 {
				time.Sleep(pause)
			}
		}
		time.Sleep(time.Hour)
		lost, dropped = l.Stats()
		l.Close()
		l.Input(frame) // does nothing
	})
	return got, lost, dropped
}

func TestDelay(t *testing.T) {
	got, _, _ := send(t, Config{Delay: 30 * time.Millisecond}, 3, 60, 10*time.Millisecond)
	want := []arrival{{0, 30 * time.Millisecond}, {1, 40 * time.Millisecond}, {2, 50 * time.Millisecond}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

// TestRate sends at once what takes a while: 1500 bytes take 12 ms at 1 Mbit/s.
func TestRate(t *testing.T) {
	got, _, _ := send(t, Config{Rate: 1e6, Delay: time.Second}, 3, 1500, 0)
	want := []arrival{{0, 1012 * time.Millisecond}, {1, 1024 * time.Millisecond}, {2, 1036 * time.Millisecond}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	// After a pause there is no credit.
	got, _, _ = send(t, Config{Rate: 1e6}, 2, 1500, time.Second)
	want = []arrival{{0, 12 * time.Millisecond}, {1, 1012 * time.Millisecond}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

func TestJitter(t *testing.T) {
	const delay, jitter = 20 * time.Millisecond, 10 * time.Millisecond
	got, _, _ := send(t, Config{Delay: delay, Jitter: jitter, Seed: 1}, 1000, 60, 30*time.Millisecond)
	low, high, sum := time.Hour, time.Duration(0), time.Duration(0)
	for i, a := range got {
		d := a.at - time.Duration(i)*30*time.Millisecond
		low, high, sum = min(low, d), max(high, d), sum+d
	}
	if low < delay-jitter || low > delay-jitter*9/10 || high > delay+jitter || high < delay+jitter*9/10 {
		t.Errorf("delays are %v to %v; want %v to %v", low, high, delay-jitter, delay+jitter)
	}
	if mean := sum / 1000; mean < delay-time.Millisecond || mean > delay+time.Millisecond {
		t.Errorf("the mean delay is %v; want %v", mean, delay)
	}
}

// TestOrder has frames that would overtake each other.
func TestOrder(t *testing.T) {
	got, _, _ := send(t, Config{Delay: time.Millisecond, Jitter: 100 * time.Millisecond}, 500, 60, time.Millisecond)
	if len(got) != 500 {
		t.Fatalf("%d frames came; want 500", len(got))
	}
	for i, a := range got {
		if a.n != i || a.at < time.Duration(i)*time.Millisecond {
			t.Fatalf("frame %d came as number %d at %v", a.n, i, a.at)
		}
	}
}

func TestLossAndDuplicates(t *testing.T) {
	const n = 10_000
	got, lost, dropped := send(t, Config{Loss: 0.1, Duplicate: 0.05, Limit: 2 * n, Seed: 7}, n, 60, 0)
	twice := 0
	for i := 1; i < len(got); i++ {
		if got[i].n == got[i-1].n {
			twice++
		}
	}
	if dropped != 0 || len(got) != n-int(lost)+twice {
		t.Errorf("%d came, %d lost, %d twice, %d dropped of %d", len(got), lost, twice, dropped, n)
	}
	if lost < 900 || lost > 1100 {
		t.Errorf("lost %d of %d; want a tenth", lost, n)
	}
	if twice < 380 || twice > 520 {
		t.Errorf("%d of %d came twice; want a twentieth of nine tenths", twice, n)
	}
	for _, c := range []Config{{Loss: 1}, {Loss: 1, Duplicate: 1}} {
		if got, lost, _ := send(t, c, 10, 60, 0); len(got) != 0 || lost != 10 {
			t.Errorf("%+v: %v came, %d lost; want all lost", c, got, lost)
		}
	}
	if got, _, _ := send(t, Config{Duplicate: 1}, 10, 60, 0); len(got) != 20 {
		t.Errorf("%d came; want 20", len(got))
	}
}

func TestLimit(t *testing.T) {
	for _, limit := range []int{0, 5} {
		want := limit
		if want == 0 {
			want = DefaultLimit
		}
		got, _, dropped := send(t, Config{Delay: time.Second, Limit: limit}, 2000, 60, 0)
		if len(got) != want || dropped != 2000-uint64(want) {
			t.Errorf("limit %d: %d came, %d dropped", limit, len(got), dropped)
		}
	}
	// What has left makes room.
	if got, _, dropped := send(t, Config{Delay: 10 * time.Millisecond, Limit: 2}, 50, 60, 10*time.Millisecond); len(got) != 50 {
		t.Errorf("%d came, %d dropped; want all", len(got), dropped)
	}
}

func TestSeed(t *testing.T) {
	c := Config{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.5, Duplicate: 0.5, Seed: 3}
	first, _, _ := send(t, c, 100, 60, time.Millisecond)
	again, _, _ := send(t, c, 100, 60, time.Millisecond)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Error("one seed, two results")
	}
	c.Seed = 4
	if other, _, _ := send(t, c, 100, 60, time.Millisecond); fmt.Sprint(first) == fmt.Sprint(other) {
		t.Error("two seeds, one result")
	}
}

// TestSizes has frames of the sizes for which there are buffers, and of one for which there is none.
func TestSizes(t *testing.T) {
	for _, size := range []int{14, 2048, 2049, 16385, 65535, 100_000} {
		if got, _, _ := send(t, Config{Delay: time.Millisecond}, 3, size, 0); len(got) != 3 {
			t.Errorf("size %d: %d came; want 3", size, len(got))
		}
	}
}

// TestClose closes a Link with frames on their way; synctest fails if its goroutine stays.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Delay: time.Second}, func([]byte) { t.Error("a frame came after Close") })
		l.Input(make([]byte, 60))
		time.Sleep(time.Millisecond)
		l.Close()
		time.Sleep(time.Hour)
	})
}
