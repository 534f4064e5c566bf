"""Text recognition: a CNN finds characters, an RNN turns columns into words, CTC aligns."""




