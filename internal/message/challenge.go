package message

import (
	"errors"

	"relaymarket/internal/codec"
)

// MaxChallenges bounds the challenges of one message: the answers fit the smallest frame.
const MaxChallenges = 16

// Challenge asks a relay to prove that it has records of the session's identity.
type Challenge struct {
	Challenges []byte // identity.Bundle of storageChallenge statements, at most MaxChallenges
	Homes      Homes  // hints, one per challenge
	// Statements are the statements of the records that the challenges name, as in Read.
	Statements [][]byte
}

// Type is the message's number.
func (*Challenge) Type() Type { return TypeChallenge }

func (m *Challenge) fields() []codec.Field {
	return []codec.Field{
		codec.Bytes(0, &m.Challenges, 1, MaxBundle), homesField(2, &m.Homes),
		codec.Optional(codec.List(4, &m.Statements, MaxChallenges, maxStatement)),
	}
}

func (m *Challenge) pack() error   { return m.Homes.check() }
func (m *Challenge) unpack() error { return m.Homes.check() }

// Challenged answers a Challenge: for every statement, in order, a signed answer or an error. The
// three lists are equally long.
type Challenged struct {
	Answers [][]byte // Signed storageProof or denial; empty where there is an error
	Chunks  [][]byte // the chunk that a storageProof proves; empty beside everything else
	Results []Result

	raw [][]byte
}

// Type is the message's number.
func (*Challenged) Type() Type { return TypeChallenged }

func (m *Challenged) fields() []codec.Field {
	return []codec.Field{
		codec.List(0, &m.Answers, MaxChallenges, MaxSigned), codec.List(2, &m.Chunks, MaxChallenges, chunkSize),
		codec.List(4, &m.raw, MaxChallenges, 2+MaxText),
	}
}

var errUnevenAnswers = errors.New("answers, chunks and results are not equally many")

func (m *Challenged) pack() error {
	if len(m.Chunks) != len(m.Answers) {
		return errUnevenAnswers
	}
	return packOutcomes(m.Answers, m.Results, &m.raw)
}

func (m *Challenged) unpack() error {
	if len(m.Chunks) != len(m.Answers) {
		return errUnevenAnswers
	}
	return unpackOutcomes(m.Answers, &m.Results, &m.raw)
}
