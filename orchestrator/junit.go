package orchestrator

import (
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// The elements of JUnit's XML, as Jenkins' and GitLab's readers know them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     seconds      `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string           `xml:"name,attr"`
		Tests      int              `xml:"tests,attr"`
		Failures   int              `xml:"failures,attr"`
		Errors     int              `xml:"errors,attr"`
		Skipped    int              `xml:"skipped,attr"`
		Time       seconds          `xml:"time,attr"`
		Timestamp  string           `xml:"timestamp,attr,omitempty"`
		Properties *junitProperties `xml:"properties"`
		Cases      []junitCase      `xml:"testcase"`
	}
	junitProperties struct {
		Property []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Classname string        `xml:"classname,attr"`
		Time      seconds       `xml:"time,attr"`
		Failure   *junitProblem `xml:"failure"`
		Error     *junitProblem `xml:"error"`
		Skipped   *junitProblem `xml:"skipped"`
		Stdout    string        `xml:"system-out,omitempty"`
		Stderr    string        `xml:"system-err,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr,omitempty"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// seconds is a time span, in XML a number of seconds.
type seconds time.Duration

// MarshalText implements encoding.TextMarshaler.
func (s seconds) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 3, 64), nil
}

// WriteJUnit writes the report as JUnit XML: a test suite for each sub-kernel, with a test case for each step. A failed command is a
// failure, a kernel that did not boot or panicked an error. What a case can't tell, because the steps went well or there are none, is told by
// one more, "sub-kernel". Control characters are escaped, since XML has no place for them. The error is the writer's.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Name: escape(r.Project), Time: seconds(r.Duration)}
	for i := range r.Subkernels {
		suite := r.Subkernels[i].junit()
		out.Tests += suite.Tests
		out.Failures += suite.Failures
		out.Errors += suite.Errors
		out.Skipped += suite.Skipped
		out.Suites = append(out.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(&out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *SubkernelReport) junit() junitSuite {
	name := escape(r.Name)
	suite := junitSuite{Name: name, Time: seconds(r.Total)}
	if !r.Started.IsZero() {
		suite.Timestamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	var properties []junitProperty
	for _, p := range []junitProperty{{"kernel", escapeGuest(r.KernelVersion)}, {"logs", escape(r.Logs)}} {
		if p.Value != "" {
			properties = append(properties, p)
		}
	}
	for _, m := range r.Matrix {
		properties = append(properties, junitProperty{"matrix." + escape(m.Key), escape(m.Value)})
	}
	if len(properties) > 0 {
		suite.Properties = &junitProperties{properties}
	}
	explained := r.OK
	for i := range r.Steps {
		c := r.junitStep(i)
		c.Classname = name
		explained = explained || c.Failure != nil || c.Error != nil || r.neverStarted()
		suite.Cases = append(suite.Cases, c)
	}
	if !explained || len(r.Steps) == 0 {
		suite.Cases = append(suite.Cases, r.junitWhole(name))
	}
	for i := range suite.Cases {
		suite.count(&suite.Cases[i])
	}
	return suite
}

func (s *junitSuite) count(c *junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

// junitStep is the case of a step.
func (r *SubkernelReport) junitStep(i int) junitCase {
	s := &r.Steps[i]
	c := junitCase{Name: escape(s.Name), Time: seconds(s.Duration)}
	if s.OK || r.OK && r.Expect.Outcome != Exited {
		return c // where the whole was meant to end badly, the step that did so is no failure
	}
	reason := joinReason("it "+describe(s.Outcome, s.Status, s.Signal), s.Reason)
	if i == r.failedStep() || r.neverStarted() {
		reason = r.Reason
	}
	c.setProblem(s.Outcome, reason, r.details())
	c.Stdout = strings.Join(escapeLines(r.Stdout[i]), "\n")
	c.Stderr = strings.Join(escapeLines(r.Stderr[i]), "\n")
	return c
}

// neverStarted says whether a sub-kernel was kept from starting.
func (r *SubkernelReport) neverStarted() bool {
	return r.Started.IsZero() && (r.Outcome == Skipped || r.Outcome == Cancelled)
}

// junitWhole is the case of the sub-kernel as a whole.
func (r *SubkernelReport) junitWhole(classname string) junitCase {
	c := junitCase{Name: "sub-kernel", Classname: classname, Time: seconds(r.Total)}
	if r.OK {
		return c
	}
	c.setProblem(r.Outcome, r.Reason, r.details())
	return c
}

// setProblem says whether a bad outcome is the command's failure, an error of what it runs on, or none because it never ran.
func (c *junitCase) setProblem(o Outcome, reason, details string) {
	p := &junitProblem{Message: escape(reason), Type: string(o), Text: details}
	switch o {
	case BootFailed, Panicked:
		c.Error = p
	case Skipped, Cancelled, Stopped:
		c.Skipped = &junitProblem{Message: escape(reason)}
	default:
		c.Failure = p
	}
}

// details are the reason, the hint and the end of the kernel's log.
func (r *SubkernelReport) details() string {
	lines := []string{escape(r.Reason)}
	if r.Hint != "" {
		lines = append(lines, fmt.Sprintf("hint: %s", escape(r.Hint)))
	}
	for _, line := range r.Console {
		lines = append(lines, escapeGuest(line))
	}
	return strings.Join(lines, "\n")
}
