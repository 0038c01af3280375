//! The task that turns a language model's tokens into sentences that may be spoken, for one call.
//!
//! Owned by the call's actor through its inbox, like `speak`. A newer question replaces the one being answered.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::TurnId;
use super::core::CallInput;
use super::shard::CallPort;
use crate::dialog::sentence::Chunker;
use crate::dialog::speakable::{plain, speakable};
use crate::providers::{Language, Llm, LlmEvent, ProviderError, ReplyRequest};
use crate::safety::said;

/// What the task is told.
#[derive(Debug)]
pub enum AnswerMsg {
    Reply {
        turn: TurnId,
        request: Box<ReplyRequest>,
        language: Language,
    },
    /// No answer of this turn or an older one is wanted any more.
    Abandon(TurnId),
}

/// How many messages may wait: each replaces the one before.
pub const INBOX: usize = 16;

/// Serves one call until its inbox closes.
pub async fn run(mut inbox: mpsc::Receiver<AnswerMsg>, model: Arc<dyn Llm>, call: CallPort) {
    let mut next = inbox.recv().await;
    while let Some(message) = next {
        next = match message {
            AnswerMsg::Abandon(_) => inbox.recv().await,
            AnswerMsg::Reply { turn, request, language } => {
                tokio::select! {
                    biased;
                    newer = newer_than(turn, &mut inbox) => newer,
                    () = answer(&*model, &call, turn, *request, &language) => inbox.recv().await,
                }
            }
        };
    }
}

/// Waits for a message that makes the answer to `turn` unwanted.
async fn newer_than(turn: TurnId, inbox: &mut mpsc::Receiver<AnswerMsg>) -> Option<AnswerMsg> {
    loop {
        match inbox.recv().await {
            Some(AnswerMsg::Abandon(stale)) if stale < turn => {}
            message => return message,
        }
    }
}

async fn answer(model: &dyn Llm, call: &CallPort, turn: TurnId, request: ReplyRequest, language: &Language) {
    let end = match stream(model, call, turn, request, language).await {
        Ok(end) => end,
        Err(error) => CallInput::AnswerFailed { turn, error },
    };
    call.send(end).await;
}

async fn stream(
    model: &dyn Llm,
    call: &CallPort,
    turn: TurnId,
    request: ReplyRequest,
    language: &Language,
) -> Result<CallInput, ProviderError> {
    let mut tokens = model.reply(request).await?;
    let mut chunker = Chunker::new();
    let mut began = false;
    let mut tool = None;
    while let Some(event) = tokens.next().await {
        let event = event?;
        if !std::mem::replace(&mut began, true) {
            call.send(CallInput::AnswerBegan { turn }).await;
        }
        match event {
            LlmEvent::Text(text) => {
                for sentence in chunker.push(&text) {
                    say(call, turn, &sentence, language).await;
                }
            }
            LlmEvent::Tool(asked_for) => tool = Some(asked_for),
            LlmEvent::Done { .. } => {}
        }
    }
    for sentence in chunker.finish() {
        say(call, turn, &sentence, language).await;
    }
    let end = match tool {
        Some(tool) => CallInput::AnswerTool { turn, call: tool },
        None => CallInput::AnswerEnded { turn },
    };
    Ok(end)
}

async fn say(call: &CallPort, turn: TurnId, sentence: &str, language: &Language) {
    let sentence = said::clear(&speakable(&plain(sentence), language));
    if !sentence.is_empty() {
        call.send(CallInput::Answer { turn, sentence }).await;
    }
}
