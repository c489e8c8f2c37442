"""What the verbs share: how the pipeline becomes an Azure ML job, and how it runs here and there.

``azure.*`` takes seconds to import, so only functions that talk to Azure import it.
"""
