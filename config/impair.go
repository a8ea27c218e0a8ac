package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
)

const (
	// maxDelay bounds how long frames are held back: they take memory for as long.
	maxDelay = time.Minute
	minRate  = 1000
	maxRate  = 1_000_000_000_000
)

// buildImpair decodes an impair block.
func (l *loader) buildImpair(in *instance, b *block) *Impair {
	d := l.nested(in, b)
	out := &Impair{Loss: d.part("loss"), Duplicate: d.part("duplicate"), Rate: d.rate("rate")}
	var ok bool
	out.Delay, ok = tried(d, func() time.Duration { return d.duration("delay", 0, 0) })
	if ok && out.Delay > maxDelay {
		d.error(d.get("delay"), "Duration too long", fmt.Sprintf("A frame is held back for %s at most.", formatDuration(maxDelay)))
	}
	jitter, jitterOK := tried(d, func() time.Duration { return d.duration("jitter", 0, 0) })
	if ok && jitterOK && jitter > out.Delay {
		d.error(d.get("jitter"), "Jitter beyond the delay", fmt.Sprintf("The delay varies by %s up and down, and is %s: it can't be less than nothing. Make the delay longer.", formatDuration(jitter), formatDuration(out.Delay)))
	}
	out.Jitter = jitter
	return out
}

// percents are the texts that are parts in percent, digits those that are numbers.
var percents = newPattern(`^[0-9]{1,3}(\.[0-9]{1,9})?%$`)

// part returns a part from 0 to 1, which may be written in percent.
func (d *decoder) part(name string) float64 {
	v := d.get(name)
	if v == nil {
		return 0
	}
	text := ""
	if v.val.Type() == cty.Number {
		text = v.val.AsBigFloat().Text('f', -1)
	} else if d.text(v, "a part such as \"1%\" or 0.01") {
		text = v.val.AsString()
	} else {
		return 0
	}
	part := -1.0
	if percents.MatchString(text) {
		part, _ = strconv.ParseFloat(strings.TrimSuffix(text, "%")+"e-2", 64) // the pattern holds that it is a number
	} else if digits.MatchString(text) {
		part, _ = strconv.ParseFloat(text, 64)
	}
	if part < 0 || part > 1 {
		d.error(v, "Invalid part", fmt.Sprintf("%q takes a part of the frames: from \"0%%\" to \"100%%\", or a number from 0 to 1.", name))
		return 0
	}
	return part
}

// rates are the texts that are rates.
var rates = newPattern(`^(?i)[0-9]{1,12}(\.[0-9]{1,9})?[kmgt]?bit$`)

// rateUnits are what the letter before "bit" stands for, the greatest first.
var rateUnits = []struct {
	letter string
	bits   int64
}{{"t", 1_000_000_000_000}, {"g", 1_000_000_000}, {"m", 1_000_000}, {"k", 1000}, {"", 1}}

// rate returns bits a second, or 0 if it is not set.
func (d *decoder) rate(name string) int64 {
	v := d.get(name)
	if v == nil || !d.text(v, "a rate such as \"10mbit\"") {
		return 0
	}
	s := v.val.AsString()
	if n := parseRate(s); rates.MatchString(s) && n >= minRate && n <= maxRate {
		return n
	}
	d.error(v, "Invalid rate", fmt.Sprintf("%q is not a rate. Write bits a second with the unit kbit, mbit or gbit, from \"1kbit\" to \"1tbit\": \"10mbit\".", s))
	return 0
}

// parseRate returns the bits a second of a text that matches rates.
func parseRate(s string) int64 {
	number := strings.TrimSuffix(strings.ToLower(s), "bit")
	for _, u := range rateUnits {
		if n, ok := strings.CutSuffix(number, u.letter); ok {
			f, err := strconv.ParseFloat(n, 64)
			if err != nil || f*float64(u.bits) > 2*maxRate {
				return 0
			}
			return int64(f*float64(u.bits) + 0.5)
		}
	}
	return 0
}

// formatRate writes a rate as the language takes it, with the greatest unit that divides it.
func formatRate(n int64) string {
	for _, u := range rateUnits {
		if n%u.bits == 0 {
			return fmt.Sprintf("%d%sbit", n/u.bits, u.letter)
		}
	}
	return ""
}
